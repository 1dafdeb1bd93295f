-- Keeps the lease KEYS[1] of the holder ARGV[1] for so many milliseconds, ARGV[2]. Returns 0 where another has it.
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] or holder == '-' .. ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if holder then
  return 0
end
-- It was lost, and whatever was remembered may have changed meanwhile: this holder leaves nothing behind.
redis.call('SET', KEYS[1], '-' .. ARGV[1], 'PX', ARGV[2])
return 1
