-- Gives the lease KEYS[1] of the holder ARGV[1] back, and changes the window KEYS[2] as ARGV[2] says: `keep`, `drop`,
-- `put` (these turns alone), `add` (them, where the header begins with ARGV[4]). The header begins with ARGV[5] then.
-- The window lives for ARGV[3] milliseconds, with at most ARGV[6] bytes and ARGV[7] turns. ARGV[8] and on are turns.
local holder = redis.call('GET', KEYS[1])
if holder == '-' .. ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
if holder ~= ARGV[1] then
  -- It is another's now, and so is the window.
  return 0
end
redis.call('DEL', KEYS[1])
if ARGV[2] == 'keep' then
  return 1
end

local bytes, count = 0, #ARGV - 7
if ARGV[2] == 'add' then
  local header = redis.pcall('LINDEX', KEYS[2], 0)
  if type(header) == 'string' and string.sub(header, 1, #ARGV[4]) == ARGV[4] then
    bytes = tonumber(string.sub(header, #ARGV[4] + 1))
    count = count + redis.call('LLEN', KEYS[2]) - 1
  else
    bytes = nil
  end
end
for i = 8, #ARGV do
  bytes = bytes and bytes + #ARGV[i]
end
local is_kept = ARGV[2] ~= 'drop' and bytes and bytes <= tonumber(ARGV[6]) and count <= tonumber(ARGV[7])
if ARGV[2] ~= 'add' or not is_kept then
  redis.call('DEL', KEYS[2])
end
if not is_kept then
  return 1
end

local header = ARGV[5] .. string.format('%.0f', bytes)
if ARGV[2] == 'add' then
  redis.call('LSET', KEYS[2], 0, header)
else
  redis.call('RPUSH', KEYS[2], header)
end
for i = 8, #ARGV do
  redis.call('RPUSH', KEYS[2], ARGV[i])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
