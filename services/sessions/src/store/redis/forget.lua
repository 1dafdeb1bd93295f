-- Forgets the window KEYS[2]. Whoever has the lease KEYS[1] may have read it: the mark keeps them from leaving it, or what
-- they made of it, behind.
redis.call('DEL', KEYS[2])
local holder = redis.call('GET', KEYS[1])
if holder and string.sub(holder, 1, 1) ~= '-' then
  redis.call('SET', KEYS[1], '-' .. holder, 'KEEPTTL')
end
return 1
