--- The table of public functions (docs/api/), the module, and the pages say the same. A function, an option or an error
-- code that one of them lacks fails here; `make reference` makes the two pages from the table.
local support = require "spec.support"
local tiny = require "spec.lua.tiny"
local moonseek = require "moonseek"
local reference = require "tools.reference"

local unpack = table.unpack or unpack -- luacheck: ignore

local sections = reference.read()

--- Everything the table says of functions: "job:poll" -> its row, and of types: "Job" -> the variable of its methods.
local functions, variables, classes, codes, known_types = {}, {}, {}, {}, { Code = true }

for _, section in ipairs(sections) do
  local variable = section.module and "moonseek" or section.variable or section.class and section.class:lower()
  if section.class then variables[section.class:lower()] = variable end
  if section.class then known_types[section.class] = true end
  for _, fn in ipairs(section.functions or {}) do functions[fn[1]] = fn end
  for _, row in ipairs(section.codes or {}) do codes[row[1]] = true end
  for _, alias in ipairs(section.aliases or {}) do known_types[alias[1]] = true end
  if section.union then known_types[section.union[1]] = true end
end

reference.each_class(sections, function(class)
  classes[class[1]] = class
  known_types[class[1]] = true
end)

--- Both sets have the same keys; what one of them lacks is named.
local function assert_described(public, described)
  local problems = {}
  for name in pairs(public) do
    if not described[name] then problems[#problems + 1] = name .. " is not in docs/api" end
  end
  for name in pairs(described) do
    if not public[name] then problems[#problems + 1] = name .. " is in docs/api alone" end
  end
  table.sort(problems)
  assert.equal("", table.concat(problems, "\n"))
end

--- What matches `pattern` in the sources of `folders`, as a set.
local function found_in(folders, pattern)
  local set = {}
  local pipe = assert(io.popen("ls " .. folders))
  for path in pipe:lines() do
    for word in support.read_file(path):gmatch(pattern) do set[word] = true end
  end
  pipe:close()
  return set
end

describe("the table of public functions", function()
  for path, text in pairs(reference.files()) do
    it("makes " .. path .. " as it is committed", function()
      assert.equal(text, support.read_file(path), "run `make reference`")
    end)
  end

  it("has the functions of the module, and no other", function()
    local public, described = {}, {}
    local parts = { moonseek = moonseek }
    for _, section in ipairs(sections) do
      for _, row in ipairs(section.module and section.fields or {}) do
        if row[1]:find("^%l") then parts[row[1]] = moonseek[row[1]] end
      end
    end
    for name in pairs(functions) do
      local _ = name:find("^moonseek%.") and moonseek[name:match("%.(.*)")] -- parts are loaded at their first use
    end
    for part, members in pairs(parts) do
      for name, value in pairs(members) do
        local callable = type(value) == "table" and (getmetatable(value) or {}).__call
        if type(value) == "function" or callable then public[part .. "." .. name] = true end
      end
    end
    for name in pairs(moonseek) do assert(parts[name] or name == "_VERSION" or public["moonseek." .. name], name) end
    for name in pairs(functions) do
      if name:find("%.") then described[name] = true end
    end
    assert_described(public, described)
  end)

  it("has every method of every type, and no other", function()
    local public, described = {}, {}
    for name, metatable in pairs(debug.getregistry()) do
      local class = type(name) == "string" and type(metatable) == "table" and name:match("^moonseek%.(%w+)$")
      if class and metatable.__index then
        for method in pairs(tiny.methods(metatable)) do
          public[("%s:%s"):format(variables[class] or class, method)] = true
        end
      end
    end
    for name in pairs(found_in("lua/moonseek/*.lua", "\nfunction ([%w_]+:[%w_]+)")) do public[name] = true end
    for name in pairs(functions) do
      if name:find(":") then described[name] = true end
    end
    assert_described(public, described)
  end)

  it("has the error codes of the engine and of the library, and no other", function()
    local used = found_in("csrc/base/status.c lua/moonseek/*.lua lua/moonseek/*/*.lua", '"(E%u+)"')
    assert_described(used, codes)
  end)

  it("names error codes and types that it describes", function()
    local function check(where, kind)
      for name in kind:gsub('"[^"]*"', ""):gmatch("%f[%w_]%u[%w_]*") do
        assert(known_types[name], ("%s: type %s is not described"):format(where, name))
      end
    end
    for name, fn in pairs(functions) do
      assert(type(fn[2]) == "string", name .. ": what it gives is missing")
      for _, code in ipairs(fn.errors or {}) do assert(codes[code], name .. ": code " .. code) end
      for _, argument in ipairs(fn.arguments or {}) do check(name, argument[2]) end
      if type(fn.returns) == "string" then check(name, fn.returns) end
    end
    for name, class in pairs(classes) do
      for _, row in ipairs(class.fields) do check(name, row[2]) end
    end
  end)

  it("names no class twice", function()
    local seen = {}
    reference.each_class(sections, function(class, section)
      assert(not seen[class[1]], ("%s: class %s is described twice"):format(section.file, class[1]))
      seen[class[1]] = true
    end)
  end)
end)

describe("the options in the table", function()
  local objects = { moonseek = moonseek }
  setup(function() objects.session, objects.engine = tiny.session() end)
  teardown(function()
    objects.session:close()
    objects.engine:close()
  end)

  --- The rows of a function's options, with those of the classes that its class extends.
  local function options_of(fn)
    local rows, class = {}, type(fn.options) == "table" and { fields = fn.options } or classes[fn.options]
    while class do
      for _, row in ipairs(class.fields) do rows[row[1]] = row end
      class = classes[class.extends]
    end
    return rows
  end

  --- The word by which options.c names a type.
  local function expected_word(kind)
    if kind == "integer|string" then return "integer or string of digits" end
    if kind:find('^"') then return "string" end
    if kind:find("^fun") then return "function" end
    if variables[kind:lower()] then return "moonseek." .. kind:lower() end
    return kind:match("^%l+$") or "table"
  end

  local sample_of = { string = "x" }

  --- Calls the function with its arguments, its required options and one more.
  local function call(fn, option, value)
    local object, separator, verb = fn[1]:match("^(%w+)([.:])([%w_]+)$")
    local options = {}
    for name, row in pairs(options_of(fn)) do
      if row.required then options[name] = name == "path" and tiny.path or row.from or "x" end
    end
    if option then options[option] = value end
    local arguments = {}
    for _, row in ipairs(fn.arguments or {}) do arguments[#arguments + 1] = sample_of[row[2]] end
    arguments[#arguments + 1] = options
    if separator == ":" then table.insert(arguments, 1, objects[object]) end
    return objects[object][verb](unpack(arguments))
  end

  local every_name = found_in("csrc/lua/*.c", '{ "([%w_]+)", OPTION_')
  every_name.no_such_option = true
  for _, fn in pairs(functions) do
    if fn.options then
      for name in pairs(options_of(fn)) do every_name[name] = true end
    end
  end

  for name, fn in pairs(functions) do
    if fn.options then
      it("are those that " .. name .. " knows, with their types", function()
        local rows = options_of(fn)
        for option in pairs(every_name) do
          local ok, message = pcall(call, fn, option, coroutine.create(function() end))
          local row = rows[option]
          local expected = row and ("option '%s': %s expected, got thread"):format(option, expected_word(row[2]))
            or ("unknown option '%s'"):format(option)
          assert(not ok and tostring(message):find(expected, 1, true),
            ('%s{ %s = }: expected "%s", got "%s"'):format(name, option, expected, tostring(message)))
        end
      end)

      it("have the limits that " .. name .. " keeps", function()
        for option, row in pairs(options_of(fn)) do
          for _, value in ipairs { row.from and row.from - 1 or false, row.to and row.to + 1 or false } do
            if value then
              local result, message, code = call(fn, option, value)
              assert(result == nil and code == "EINVAL" and message:find(option, 1, true),
                ("%s{ %s = %s }: %s"):format(name, option, value, tostring(message)))
            end
          end
        end
      end)

      it("are required where " .. name .. " cannot do without", function()
        for option, row in pairs(options_of(fn)) do
          if row.required then
            local ok, message = pcall(call, fn, option, nil)
            assert(not ok and message:find(("option '%s' is missing"):format(option), 1, true), tostring(message))
          end
        end
      end)
    end
  end
end)

describe("the pages", function()
  it("name no function that the table lacks", function()
    local described = {}
    for name in pairs(functions) do described[name] = true end
    for _, object in ipairs { "moonseek", "engine", "session", "job", "tokenizer" } do
      for name in pairs(found_in("README.md docs/*.md", "%f[%w_](" .. object .. "[.:][%l_]+)[({]")) do
        assert(described[name], name .. " is not described in docs/api")
      end
    end
  end)
end)
