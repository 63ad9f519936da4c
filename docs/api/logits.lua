return {
  title = "Logits",
  level = 3,
  class = "Logits",
  variable = "l",
  about = "A copy of the scores of all tokens after a position.",
  text = "A copy of the scores of all tokens after a position.",
  operators = {
    { "#l", returns = "integer", definition = "operator len: integer", "the number of scores" },
    { "l[id]", returns = "number?", definition = "field [integer] number?", "the score of an id, from 0; nil outside" },
  },
  functions = {
    { "l:top",
      arguments = { { "k", "integer", from = 1 } },
      returns = "{ id: integer, logit: number, logprob: number }[]",
      "the best k, best first, equal ones by id" },
    { "l:bytes", returns = "string", "float32, little-endian, in order of id" },
  },
}
