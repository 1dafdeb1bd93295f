-- Takes the lease KEYS[1] for the holder ARGV[1] and so many milliseconds, ARGV[2]; with ARGV[3] = '1' from whoever has
-- it. Returns the window KEYS[2]; where another has the lease, for how long still.
local holder = redis.call('GET', KEYS[1])
if ARGV[3] ~= '1' and holder and holder ~= ARGV[1] and holder ~= '-' .. ARGV[1] then
  return redis.call('PTTL', KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local window = redis.pcall('LRANGE', KEYS[2], 0, -1)
if window.err then
  return {''}
end
return window
