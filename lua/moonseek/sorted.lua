--- Sorted lists of numbers.
local sorted = {}

--- How many of a sorted list are less than `value`.
function sorted.count_below(list, value)
  local low, high = 1, #list + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if list[middle] < value then low = middle + 1 else high = middle end
  end
  return low - 1
end

return sorted
