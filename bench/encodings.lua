--- What stored forms lose: the tables of docs/convert.md, "4.5 bits". `make bench-encodings`, or encodings.lua [SEED].
-- First the error of weights: normal rows, heavy-tailed ones (Student's t, 4 degrees), and the pocket model's attention
-- weights. Then what the pocket model makes of them: those weights are encoded, decoded again and written as F32 beside
-- the others, so that nothing but their values changes, and `exact` computes both models' logits over held-out texts.
package.path = "./?.lua;./lua/?.lua;./lua/?/init.lua;models/pocket/?.lua;" .. package.path
local support = require "spec.support"
local files = require "spec.format.files"
local sub_blocks = require "bench.sub_blocks"
local moonseek = require "moonseek"
local tasks = require "tasks"
local internals = support.internals()

local pocket = "models/pocket"
local seed = tonumber(arg[1]) or 1
local rows, columns = 128, 1024                -- of random weights
local draws = 4

-- {== Random weights ==============================================================================

local state = seed
local function uniform()                       -- Park and Miller; 0 < u < 1
  state = state * 16807 % 2147483647
  return state / 2147483647
end

local function normal()
  return math.sqrt(-2 * math.log(uniform())) * math.cos(2 * math.pi * uniform())
end

local function heavy_tailed()
  local sum = 0
  for _ = 1, 4 do sum = sum + normal() ^ 2 end
  return normal() / math.sqrt(sum / 4)
end

local function drawn(draw)
  local values = {}
  for i = 1, rows * columns do values[i] = 0.02 * draw() end
  return { name = "random", values = internals.pack_floats(values), columns = columns }
end

-- {== The pocket model's attention ================================================================

local tensors = {}
for _, entry in ipairs(files.entries("../../" .. pocket .. "/model.safetensors")) do tensors[entry.name] = entry end

local attention = {}
for name, tensor in pairs(tensors) do
  if name:find("%.attn%.") and tensor.type == "F8_E4M3" then
    tensor.scales = tensors[name:gsub("weight$", "scale")].bytes
    attention[#attention + 1] = { name = name, values = internals.weight_values(tensor), columns = tensor.shape[2] }
  end
end
table.sort(attention, function(a, b) return a.name < b.name end)

--- A copy of the model's folder in which the attention weights are what `form` makes of them, as F32.
local function write_model(folder, form)
  local entries, replaced = {}, {}
  for _, matrix in ipairs(attention) do
    replaced[matrix.name] = form and form(matrix) or matrix.values
    replaced[matrix.name:gsub("weight$", "scale")] = ""
  end
  for name, tensor in pairs(tensors) do
    local values = replaced[name]
    if not values then entries[#entries + 1] = tensor end
    if values and values ~= "" then
      entries[#entries + 1] = { name = name, type = "F32", shape = tensor.shape, bytes = values }
    end
  end
  support.write_file(folder .. "/model.safetensors", files.encode(entries))
  for _, name in ipairs { "config.json", "tokenizer.json" } do
    support.write_file(folder .. "/" .. name, support.read_file(pocket .. "/" .. name))
  end
end

-- {== Forms =======================================================================================

--- Encoded and decoded again. A block of 256 in a matrix of 128 columns takes two rows.
local function stored(type, block)
  return function(matrix)
    local width = math.max(matrix.columns, block)
    local data, scales = assert(internals.encode(type, matrix.values, width))
    local shape = { #matrix.values / 4 / width, width }
    return internals.weight_values { type = type, shape = shape, bytes = data, scales = scales }
  end
end

local forms = {
  { "Q8_0", 8.5, stored("Q8_0", 32) }, { "FP8", 8, stored("F8_E4M3", 1) },
  { "Q4_K", 4.5, stored("Q4_K", 256) }, { "IQ4_NL", 4.5, stored("IQ4_NL", 32) },
  { "sub-blocks of 16, two codebooks", 4.5, sub_blocks.stored },
  { "MXFP4", 4.25, stored("MXFP4", 32) },
}

--- The same form over blocks that begin elsewhere, five values farther on a draw: another error of the same size.
local function turned(form, draw)
  return function(matrix)
    local by = 20 * draw
    local got = form { values = matrix.values:sub(by + 1) .. matrix.values:sub(1, by), columns = matrix.columns }
    return got:sub(#got - by + 1) .. got:sub(1, #got - by)
  end
end

--- Root mean square of the error over that of the values, over all matrices.
local function relative(form, matrices)
  local off, all = 0, 0
  for _, matrix in ipairs(matrices) do
    local got, values = internals.floats(form(matrix)), internals.floats(matrix.values)
    for i = 1, #values do
      off, all = off + (got[i] - values[i]) ^ 2, all + values[i] ^ 2
    end
  end
  return math.sqrt(off / all)
end

-- {== The pocket model's texts ====================================================================

local cases = {
  { "needle", { tokens = 512, facts = 16, questions = 4 } }, { "mixed", { turns = 6 } }, { "json", { fields = 8 } },
  { "tool", { offered = 4 } }, { "mul", { thinking = true } }, { "add", { thinking = true, digits = { 5, 5 } } },
  { "effort", { any = true } }, { "result", {} },
}

--- Whole conversations, and the answer of the last turn, which is what the model was trained to say.
local function texts()
  local list, tokens = {}, 0
  local tokenizer = assert(moonseek.tokenizer(pocket))
  for _, case in ipairs(cases) do
    for k = 1, 12 do
      local options = { seed = seed * 10007 + k, held_out = true, turns = 1 }
      for key, value in pairs(case[2]) do options[key] = value end
      local turns = tasks.turns(tasks.item(case[1], options))
      local last = turns[#turns]
      local ids, answer = {}, {}
      local prompt, rest = tokenizer:encode(last.prompt), tokenizer:encode(last.answer)
      for i = 1, #prompt do ids[i] = prompt[i] end
      for i = 1, #rest do ids[#prompt + i], answer[i] = rest[i], rest[i] end
      list[#list + 1], tokens = { ids = ids, answer = answer }, tokens + #answer
    end
  end
  return list, tokens
end

--- Packed logits of every position but the last.
local function logits_of(folder, list)
  local out, width = {}, nil
  for i, text in ipairs(list) do
    local all
    all, width = assert(internals.logits({ path = folder, numerics = "exact", threads = 1 }, text.ids, #text.ids))
    out[i] = all:sub(1, (#text.ids - 1) * width * 4)
  end
  return out, width
end

--- Those that the answers' tokens are drawn from.
local function of_answers(logits, list, width)
  local out = {}
  for i, text in ipairs(list) do out[i] = logits[i]:sub(-#text.answer * width * 4) end
  return out
end

--- -log of the probability of all answers.
local function surprise(answers, list, width)
  local sum = 0
  for i, text in ipairs(list) do
    for position, id in ipairs(text.answer) do
      local row = internals.floats(answers[i]:sub((position - 1) * width * 4 + 1, position * width * 4))
      local largest, total = -math.huge, 0
      for k = 1, width do largest = math.max(largest, row[k]) end
      for k = 1, width do total = total + math.exp(row[k] - largest) end
      sum = sum - (row[id + 1] - largest - math.log(total))
    end
  end
  return sum
end

--- Means over positions: KL from the first, and the share whose likeliest token is the same.
local function compared(before, after, width)
  local kl, same, positions = 0, 0, 0
  for i = 1, #before do
    local count = #before[i] / 4 / width
    local result = internals.compare(before[i], after[i], width)
    kl, same, positions = kl + result.kl_mean * count, same + result.top1 * count, positions + count
  end
  return kl / positions, same / positions
end

-- {== The tables ==================================================================================

local normals, heavy = { drawn(normal) }, { drawn(heavy_tailed) }
print(("seed %d\n\n| form | bits a weight | normal | heavy-tailed | pocket attention |"):format(seed))
print("|---|---|---|---|---|")
for _, form in ipairs(forms) do
  print(("| %s | %.2f | %.4f | %.4f | %.4f |"):format(form[1], form[2], relative(form[3], normals),
    relative(form[3], heavy), relative(form[3], attention)))
end

local list, tokens = texts()
local folder = support.temporary_folder()
write_model(folder)
local before, width = logits_of(folder, list)
local answers, positions = of_answers(before, list, width), 0
local usual = surprise(answers, list, width)
for _, text in ipairs(list) do positions = positions + #text.ids - 1 end
print(("\n%d texts: %d positions, %d of them in answers, where -log p of the next token is %.6f as it is.\n"):format(
  #list, positions, tokens, usual / tokens))
print("Means of " .. draws .. " draws, and the range of KL everywhere:\n")
print("| attention weights | KL, answers | change of -log p | KL, everywhere | range | same likeliest |")
print("|---|---|---|---|---|---|")
for _, form in ipairs(forms) do
  local sums, least, most = { 0, 0, 0, 0 }, math.huge, 0
  for draw = 0, draws - 1 do
    write_model(folder, turned(form[3], draw))
    local after = logits_of(folder, list)
    local said = of_answers(after, list, width)
    local kl, same = compared(before, after, width)
    for i, value in ipairs { (compared(answers, said, width)), surprise(said, list, width) - usual, kl, same } do
      sums[i] = sums[i] + value / draws
    end
    least, most = math.min(least, kl), math.max(most, kl)
  end
  print(("| %s | %.1e | %+.1e | %.4f | %.4f to %.4f | %.1f %% |"):format(form[1], sums[1], sums[2] / tokens, sums[3],
    least, most, 100 * sums[4]))
end
support.remove(folder)
