"""The scripts that Redis runs, each one atomic step on the one hash, and what its fields are.

```text
epoch                   number of the last purge: the time it was asked for, ms UTC, or one more than the number before
                        if that is later; small numbers are from 0.1.0, or of purges without Redis
purged                  number of the last purge made on this very hash: it has taken no older totals since. Less than
                        epoch if a member told of a later purge, which this hash, emptied or a copy, did not know
roster                  members separated by commas; only grows
health.<processor>      the last shared health poll (SharedHealth in server/redis_totals.py)
<member>|h              header (server/totals_header.py)
<member>|seen           when it last flushed, ms by Redis's own clock: instances' clocks need not agree
<member>|m<minute>      a minute's totals      (server/totals_fields.py)
<member>|s<second>      a second's detail      (server/totals_fields.py)
```
"""

from server.totals_fields import MINUTE_TOTALS_LENGTH
from server.totals_header import NUMBER_NAMES

HASH = "gateway:totals"
HEALTH_LEASE = "gateway:health-lease:"  # and the processor's index

FLUSH = """
-- Writes one member's new absolute values. Three versions of its header decide: theirs (in the hash), builds_on (what
-- the values build on), mine. Applied if mine has the hash's epoch, theirs < mine, and one of these holds:
-- the values build on nothing; or theirs = builds_on; or theirs > builds_on and is of my life (an earlier life may have
-- begun to write everything anew, and not all of it need be there). If theirs < builds_on, the header is removed, so
-- that readers are refused until everything has been written again, instead of being told an old state.
-- ARGV: member, header, version of the member's header that the values build on ('': on nothing, they are everything),
--       roster known to the member, number of pairs, then field, value ..., then fields to remove
-- Returns: applied (1 or 0), header found, epoch, whether purged equals epoch (1 or 0), roster, health per processor
local hash, member = KEYS[1], ARGV[1]
local function version(header)
  local epoch, life, flush = string.match(header, '^(%d+) (%d+) (%d+)')
  return {tonumber(epoch or -1), tonumber(life or -1), tonumber(flush or -1)}
end
local function is_before(one, other)
  for i = 1, 3 do
    if one[i] ~= other[i] then return one[i] < other[i] end
  end
  return false
end
local found = redis.call('HGET', hash, member .. '|h') or ''
local mine, theirs, builds_on = version(ARGV[2]), version(found), version(ARGV[3])
local epoch = tonumber(redis.call('HGET', hash, 'epoch') or '0')
if mine[1] > epoch then
  epoch = mine[1]
  redis.call('HSET', hash, 'epoch', string.format('%.0f', epoch))
end
local applied = 0
local fits = not is_before(theirs, builds_on) and (theirs[2] == mine[2] or not is_before(builds_on, theirs))
if mine[1] == epoch and is_before(theirs, mine) and (fits or ARGV[3] == '') then
  applied = 1
  if ARGV[3] == '' then
    local prefix = member .. '|'
    for _, field in ipairs(redis.call('HKEYS', hash)) do
      if string.sub(field, 1, #prefix) == prefix then redis.call('HDEL', hash, field) end
    end
  end
  local last = 5 + 2 * tonumber(ARGV[5])
  for i = 6, last, 2 do redis.call('HSET', hash, member .. '|' .. ARGV[i], ARGV[i + 1]) end
  for i = last + 1, #ARGV do redis.call('HDEL', hash, member .. '|' .. ARGV[i]) end
  local now = redis.call('TIME')
  redis.call('HSET', hash, member .. '|h', ARGV[2], member .. '|seen',
    string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
end
if mine[1] == epoch and is_before(theirs, builds_on) then redis.call('HDEL', hash, member .. '|h') end
local roster = redis.call('HGET', hash, 'roster') or ''
local longer = roster
for name in string.gmatch(ARGV[4], '[^,]+') do
  if not string.find(',' .. longer .. ',', ',' .. name .. ',', 1, true) then
    longer = longer == '' and name or longer .. ',' .. name
  end
end
if longer ~= roster then redis.call('HSET', hash, 'roster', longer) end
local is_purged = tonumber(redis.call('HGET', hash, 'purged') or '0') == epoch and 1 or 0
return {applied, found, epoch, is_purged, longer, redis.call('HGET', hash, 'health.0') or '',
  redis.call('HGET', hash, 'health.1') or ''}
"""

NAMES = """
-- A member's header and the names of its fields, at one instant. Not by HSCAN: a cursor is valid within one server
-- process only, and since the last page the client may have been connected to another.
-- ARGV: member. Returns: header ('' if there is none), name ...
local hash, prefix = KEYS[1], ARGV[1] .. '|'
local answer = {redis.call('HGET', hash, prefix .. 'h') or ''}
for _, field in ipairs(redis.call('HKEYS', hash)) do
  if string.sub(field, 1, #prefix) == prefix then answer[#answer + 1] = field end
end
return answer
"""

_INDEX = {name: position for position, name in enumerate(NUMBER_NAMES, 1)}
_LAYOUT = f"""
local FIRST_MINUTE, LATEST_MINUTE = {_INDEX["first_minute"]}, {_INDEX["latest_minute"]} -- words of a header
local MINUTE_BYTES = {MINUTE_TOTALS_LENGTH} -- the totals of a whole minute, at the beginning of its field
"""

SUMMARY = (
    _LAYOUT
    + """
-- What one window touches of every member, at one instant.
-- ARGV: first minute, last minute (both '': none needed; only the last '': all from the first on), how many minutes an
--       end of the window cuts through, these minutes, then the seconds that an end cuts through. Of a minute that is
--       not cut, the totals of the whole minute are enough.
-- Returns: now in ms, epoch, purged, then per member: name, header, seen, [field, value ...]
local hash = KEYS[1]
redis.call('HDEL', hash, '') -- removes nothing; but a replica refuses it, so that its clients leave it
local now = redis.call('TIME')
local last_cut = 3 + tonumber(ARGV[3] or '0')
local is_cut = {}
for i = 4, last_cut do is_cut[ARGV[i]] = true end
local answer = {string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)),
  redis.call('HGET', hash, 'epoch') or '0', redis.call('HGET', hash, 'purged') or '0'}
for member in string.gmatch(redis.call('HGET', hash, 'roster') or '', '[^,]+') do
  local header = redis.call('HGET', hash, member .. '|h') or ''
  local fields = {}
  local function add(name, bytes)
    local value = redis.call('HGET', hash, member .. '|' .. name)
    if value then
      fields[#fields + 1] = name
      fields[#fields + 1] = string.sub(value, 1, bytes)
    end
  end
  if header ~= '' and ARGV[1] ~= '' then
    local words = {}
    for word in string.gmatch(header, '%d+') do words[#words + 1] = tonumber(word) end
    local first, last = math.max(tonumber(ARGV[1]), words[FIRST_MINUTE]), words[LATEST_MINUTE]
    if ARGV[2] ~= '' then last = math.min(last, tonumber(ARGV[2])) end
    for minute = first, last do
      local text = string.format('%.0f', minute)
      add('m' .. text, is_cut[text] and -1 or MINUTE_BYTES)
    end
    for i = last_cut + 1, #ARGV do add('s' .. ARGV[i], -1) end
  end
  answer[#answer + 1] = {member, header, redis.call('HGET', hash, member .. '|seen') or '0', fields}
end
return answer
"""
)

PURGE = """
-- Raises the epoch, but only once somebody has published: an emptied hash does not know which epochs there have been.
-- The number is a time: so it is new all the same, and a member that hears of it late can tell what came after it. It
-- must follow the epoch that the caller has seen: a call that arrives late, after another purge, does nothing.
-- ARGV: now, ms UTC by the clock that stamps requestedAt; the epoch to follow. Returns: the new epoch, or 0
if not redis.call('HGET', KEYS[1], 'roster') then return 0 end
local before = redis.call('HGET', KEYS[1], 'epoch') or '0'
if before ~= ARGV[2] then return 0 end
local epoch = string.format('%.0f', math.max(tonumber(ARGV[1]), tonumber(before) + 1))
redis.call('HSET', KEYS[1], 'epoch', epoch, 'purged', epoch)
return tonumber(epoch)
"""

RETIRE = """
-- Says goodbye for a member that never will itself, unless it has flushed since its header was read.
-- ARGV: member, its header as it was read, its header with the goodbye. Returns: 1, or 0
local field = ARGV[1] .. '|h'
if redis.call('HGET', KEYS[1], field) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], field, ARGV[3])
return 1
"""
