--- What is usual, and how far values are from it, where some of them are not: medians, and deviations from them
-- (Rousseeuw and Croux, "Alternatives to the median absolute deviation", JASA 88(424), 1993, on why).

local robust = {}

local TO_DEVIATION = 1.4826 -- from the median absolute deviation to a normal distribution's standard deviation

--- The least deviation that counts, of values as `scaled` gives them: about a tenth of a large value. Where nearly all
-- values are equal there is none, and any other would be infinitely far away.
robust.LEAST = 0.1

--- Sizes, counts and times on a scale on which distances are ratios: log(1 + x), with the sign of x. What is infinite
-- is NaN there, as what is absent: no median could follow it.
function robust.scaled(x)
  if x - x ~= 0 then return 0 / 0 end
  if x < 0 then return -math.log(1 - x) end
  return math.log(1 + x)
end

--- The median of a list of numbers, which gets sorted; nil of none.
function robust.median(list)
  table.sort(list)
  local middle = (#list + 1) / 2
  return #list > 0 and (list[math.floor(middle)] + list[math.ceil(middle)]) / 2 or nil
end

--- The median of a list, which gets sorted, and the median absolute deviation from it; nil of none.
function robust.centre(list)
  local median, distances = robust.median(list), {}
  for i, x in ipairs(list) do distances[i] = math.abs(x - median) end
  return median, robust.median(distances)
end

--- The standard deviation that a median absolute deviation stands for, were the usual values distributed normally.
function robust.deviation(mad) return math.max(TO_DEVIATION * mad, robust.LEAST) end

--- How many of them a value is from the median.
function robust.distance(x, median, mad) return (x - median) / robust.deviation(mad) end

return robust
