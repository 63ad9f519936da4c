std = "max"
max_line_length = 120
files["spec"] = { std = "+busted" }
-- Definitions without bodies.
files["library"] = { ignore = { "212", "241", "431" } }
exclude_files = { "**/build/**" }
