rockspec_format = "3.0"
package = "moonseek"
version = "scm-1"
source = { url = "git+https://github.com/moonseek/moonseek.git" }
description = {
  summary = "DeepSeek-V4 models as a Lua module",
  detailed = "Runs DeepSeek-V4 models natively in C on the CPU: engines, sessions and jobs that Lua programs script.",
  license = "MIT",
  labels = { "llm", "deepseek", "inference" },
}
dependencies = { "lua >= 5.1, < 5.6" }
external_dependencies = {
  LIBUV = { library = "uv" },
  JANSSON = { library = "jansson" },
  XXHASH = { library = "xxhash" },
}
build = {
  type = "make",
  build_variables = { CC = "$(CC)", CFLAGS = "$(CFLAGS)", LUA = "$(LUA)", LUA_INCDIR = "$(LUA_INCDIR)" },
  install_variables = {
    LUA = "$(LUA)", LUA_INCDIR = "$(LUA_INCDIR)", INST_LIBDIR = "$(LIBDIR)", INST_LUADIR = "$(LUADIR)",
    INST_BINDIR = "$(BINDIR)", PREFIX = "$(PREFIX)",
  },
  copy_directories = { "docs", "examples" },
}
test_dependencies = { "busted" }
test = { type = "command", command = "make test" }
