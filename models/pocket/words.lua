-- Word lists of the tasks. The tokenizer makes one token of each word, bare and after a space.
local function list(text)
  local out = {}
  for word in text:gmatch("%S+") do out[#out + 1] = word end
  return out
end

return {
  adjectives = list [[red blue green black white golden silver bright dark quiet loud quick slow early late young old
    tall small large tiny heavy light warm cold fresh dry wet soft hard sharp round flat deep high low proud brave calm
    wild gentle happy lucky clever honest simple rare royal]],
  nouns = list [[fox bear wolf lion tiger horse mouse eagle raven hawk owl swan crane whale shark salmon river lake
    stone hill forest meadow garden bridge tower castle harbor island valley desert lamp mirror window door table chair
    clock bell drum flute violin anchor ship train wagon rocket engine comet planet star moon cloud]],
  cities = list [[Paris London Berlin Madrid Rome Vienna Prague Oslo Dublin Lisbon Athens Warsaw Tokyo Delhi Cairo Lima
    Boston Denver Austin Miami Sydney Toronto]],
  people = list [[Anna Ben Carl Dora Emma Felix Greta Hugo Ida Jonas Karin Leo Maria Nina Oscar Paula Quinn Rosa Simon
    Tom Ursula Victor Wendy Yara]],
  days = list "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
  states = list "open closed paid late sent lost ready blocked",
  attributes = list "code pin room locker",
  verbs = list "checked moved opened closed cleaned painted visited repaired counted sold found started",
  skies = list "rain snow sun fog wind storm",
  parts = list "pump valve fan sensor motor heater",
}
