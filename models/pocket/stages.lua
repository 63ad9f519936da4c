-- What each training stage draws: rows of { task, share of sequences, settings }. tokens = length of the sequences.
local stages = {}

stages[1] = { tokens = 64, { "assoc", 65, { keys = { 2, 5 }, one_noun = 0.7, value_digits = { 1, 2 }, plain = true } },
  { "add", 20, { add_levels = { { 1, 1 }, { 2, 1 } } } }, { "echo", 15, {} } }

stages[2] = { tokens = 128,
  { "assoc", 36, { keys = { 3, 10 }, one_noun = 0.2, value_digits = { 1, 2, 4 }, several = true } },
  { "needle", 22, { facts = { 2, 5 }, questions = 3, filler_chance = 0 } },
  { "add", 16, { add_levels = { { 2, 1 }, { 3, 1 } } } },
  { "mul", 14, { mul_levels = { { 1, 1 }, { 2, 2 } } } }, { "echo", 8, {} }, { "mail", 2, {} }, { "effort", 2, {} } }

stages[3] = { tokens = 256,
  { "assoc", 14, { keys = { 2, 6 }, one_noun = 0.3, value_digits = { 1, 2, 4 } } },
  { "assoc", 8, { keys = { 4, 12 }, value_digits = { 2, 4 }, several = true } },
  { "needle", 30, { facts = { 2, 12 }, questions = 5, filler_chance = 0.5 } },
  { "mul", 13, {} }, { "add", 7, {} }, { "mixed", 8, {} }, { "tool", 8, { short = true, result = 0.3 } },
  { "json", 12, {} } }

stages[4] = { tokens = 512,
  { "needle", 30, { facts = { 4, 24 }, questions = 8, filler_chance = 0.7 } },
  { "assoc", 4, { keys = { 4, 24 }, several = true } },
  { "mul", 17, { before_chance = 0.1 } }, { "add", 10, { before_chance = 0.1 } },
  { "mixed", 13, { before_chance = 0.1 } },
  { "tool", 14, { result = 0.4, other = 0.1 } }, { "json", 10, {} }, { "mail", 1, {} }, { "effort", 1, {} } }

stages[5] = { tokens = 1024,
  { "needle", 32, { facts = { 8, 48 }, questions = 12, filler_chance = 0.8 } },
  { "mul", 17, { before_chance = 0.1 } }, { "add", 10, { before_chance = 0.1 } },
  { "mixed", 15, { before_chance = 0.1 } },
  { "tool", 14, { result = 0.4, other = 0.1 } }, { "json", 10, {} }, { "mail", 1, {} }, { "effort", 1, {} } }

-- The sparse finish, in which the model also learns to think about what it knows. Documents with few names and with
-- several facts about one name are the hard negatives. think: share of the turns with a thought. A thought must come
-- without an earlier one of its kind in sight, too, whose form can be copied (once, turns = 1); singles: the share of
-- such sequences.
local function finish(tokens, facts, questions, needles, singles)
  local function documents(share, more)
    local options = { facts = facts, questions = questions, filler_chance = 0.85 }
    for name, value in pairs(more) do options[name] = value end
    return { "needle", needles * share, options }
  end
  return { tokens = tokens,
    documents(0.3, { pool_chance = 0.4 }), documents(0.3, { twins = 0.4 }),
    documents(0.25, { twins = 0.2, thinking = true }), documents(0.15, { pool_chance = 0.4, thinking = "last" }),
    { "mul", 11, { before_chance = 0.1 } },
    { "add", 8, { before_chance = 0.1, add_levels = { { 2, 1 }, { 3, 2 }, { 4, 6 } } } },
    { "mixed", 10, { before_chance = 0.1, think = 0.4, any = true } },
    { "mixed", singles, { think = 0.6, any = true, once = true } },
    { "tool", 7, { result = 0.4, other = 0.1, think = 0.4 } },
    { "tool", singles * 0.4, { result = 0.5, think = 0.6, turns = 1 } },
    { "json", 6, { think = 0.4 } }, { "json", 23, { hard = true, think = 0.35 } },
    { "mail", 2, { think = 0.5 } }, { "echo", 1, { think = 0.5 } }, { "effort", 2, { any = true, think = 0.3 } } }
end

stages[6] = finish(512, { 4, 24 }, 8, 34, 24)
stages[7] = finish(1024, { 16, 60 }, 12, 48, 12)
stages[8] = finish(2048, { 24, 64 }, 16, 50, 3)

return stages
