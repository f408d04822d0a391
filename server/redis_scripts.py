"""The scripts that Redis runs, each one atomic step on the one hash. Names of fields are at home here.

```text
epoch                   number of the last purge
roster                  members separated by commas; grows only
health.<processor>      "failing response_ms_min polled_at_ms": the last shared health poll
<member>|h              header (server/totals_header.py)
<member>|seen           when it last flushed, ms by Redis's own clock: instances' clocks need not agree
<member>|m<minute>      a minute's totals      (server/totals.py)
<member>|s<second>      a second's detail      (server/totals.py)
```
"""

HASH = "gateway:totals"
HEALTH_LEASE = "gateway:health-lease:"  # and the processor's index

FLUSH = """
-- One member's new absolute values, applied only if they are newer than what the hash has.
-- ARGV: member, epoch, life, flush, header, reset (1: remove the member's fields first), roster known to the member,
--       number of pairs, then field, value ..., then fields to remove
-- Returns: applied (1 or 0), header found, epoch, roster, health of each processor
local hash, member = KEYS[1], ARGV[1]
local found = redis.call('HGET', hash, member .. '|h') or ''
local epoch = tonumber(redis.call('HGET', hash, 'epoch') or '0')
local mine = {tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])}
local applied = 0
if mine[1] > epoch then
  epoch = mine[1]
  redis.call('HSET', hash, 'epoch', ARGV[2])
end
local newer = true
if found ~= '' then
  local e, l, f = string.match(found, '^(%d+) (%d+) (%d+) ')
  local theirs = {tonumber(e), tonumber(l), tonumber(f)}
  newer = mine[1] > theirs[1] or (mine[1] == theirs[1] and
    (mine[2] > theirs[2] or (mine[2] == theirs[2] and mine[3] > theirs[3])))
end
if newer and mine[1] == epoch then
  applied = 1
  if ARGV[6] == '1' then
    local prefix = member .. '|'
    for _, field in ipairs(redis.call('HKEYS', hash)) do
      if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', hash, field) end
    end
  end
  local last = 8 + 2 * tonumber(ARGV[8])
  for i = 9, last, 2 do redis.call('HSET', hash, member .. '|' .. ARGV[i], ARGV[i + 1]) end
  for i = last + 1, #ARGV do redis.call('HDEL', hash, member .. '|' .. ARGV[i]) end
  local now = redis.call('TIME')
  redis.call('HSET', hash, member .. '|h', ARGV[5], member .. '|seen',
    string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
end
local roster = redis.call('HGET', hash, 'roster') or ''
local longer = roster
for name in string.gmatch(ARGV[7], '[^,]+') do
  if not string.find(',' .. longer .. ',', ',' .. name .. ',', 1, true) then
    longer = longer == '' and name or longer .. ',' .. name
  end
end
if longer ~= roster then redis.call('HSET', hash, 'roster', longer) end
return {applied, found, epoch, longer, redis.call('HGET', hash, 'health.0') or '',
  redis.call('HGET', hash, 'health.1') or ''}
"""

READ_MEMBER = """
-- Everything of one member, for its publisher to go on from.
-- ARGV: member. Returns: field, value ... without the member's name
local hash, prefix = KEYS[1], ARGV[1] .. '|'
local answer = {}
for _, field in ipairs(redis.call('HKEYS', hash)) do
  if string.sub(field, 1, #prefix) == prefix then
    answer[#answer + 1] = string.sub(field, #prefix + 1)
    answer[#answer + 1] = redis.call('HGET', hash, field)
  end
end
return answer
"""

SUMMARY = """
-- What one window touches, of every member, at one instant.
-- ARGV: first minute, last minute ('' twice: none needed; last '': all that come), then the seconds whose detail is cut
-- Returns: now in ms, epoch, then per member: name, header, seen, [field, value ...]
local hash = KEYS[1]
local now = redis.call('TIME')
local answer = {string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)),
  redis.call('HGET', hash, 'epoch') or '0'}
for member in string.gmatch(redis.call('HGET', hash, 'roster') or '', '[^,]+') do
  local header = redis.call('HGET', hash, member .. '|h') or ''
  local fields = {}
  local function add(name)
    local value = redis.call('HGET', hash, member .. '|' .. name)
    if value then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  if header ~= '' and ARGV[1] ~= '' then
    local words = {}
    for word in string.gmatch(header, '%d+') do words[#words + 1] = tonumber(word) end
    local first, last = math.max(tonumber(ARGV[1]), words[8]), words[9]
    if ARGV[2] ~= '' then last = math.min(last, tonumber(ARGV[2])) end
    for minute = first, last do add('m' .. string.format('%.0f', minute)) end
    for i = 3, #ARGV do add('s' .. ARGV[i]) end
  end
  answer[#answer + 1] = {member, header, redis.call('HGET', hash, member .. '|seen') or '0', fields}
end
return answer
"""
