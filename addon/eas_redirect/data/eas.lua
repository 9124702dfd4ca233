-- Asks eas-redirect's judge about answers that may say UserHasNoMailbox.
-- Written for HAProxy 2.6 by `eas-redirect haproxy`; the settings below are filled in there.
--
-- Whatever fails, Exchange's answer goes through. Nothing here may block HAProxy: foreign text is
-- searched only with plain string.find, never with a pattern. A pattern that backtracks cannot be
-- interrupted, and HAProxy's watchdog would kill the process.

local JUDGES = { --[[JUDGES]] }
local LIMIT_S = --[[LIMIT_S]] 5       -- for one question, from its connection to its last byte
local CONNECT_S = 1
local AT_ONCE = 64                    -- questions under way; what comes beyond them passes
local FAILURES = 3                    -- in a row: then that judge is asked nothing
local REST_S = 2                      -- for so long; then one question tries it again
local MAX_BODY = 65536                -- an answer that is longer was not held
local MAX_REPLY = 80000
local PAUSE_S = 0.1                   -- between two bytes of the judge's words
local PIECE = 32                      -- bytes of them that are read at once
local PATH = "/Microsoft-Server-ActiveSync"
local MAX_SETTINGS = 8192             -- bytes; a judge writes half of it at most
-- The beginning of every answer that a judge writes in place of Autodiscover's.
local SETTINGS = --[[SETTINGS]] ""

-- Both expire instead of being given back: a client that leaves ends its question at once, wherever
-- it is.
local places = {}                     -- when each of the questions under way must have ended
for index = 1, AT_ONCE do places[index] = 0 end
local turn = 0
local health = {}
for index = 1, #JUDGES do health[index] = { failures = 0, rests_until = 0, tried_until = 0 } end

local function seconds()
  local now = core.now()
  return now.sec + now.usec / 1000000
end

-- What HAProxy remembered of the request (haproxy.cfg), under the names in the question.
local FACTS = { --[[FACTS]] }
local VARIABLES = {}
for index = 1, #FACTS do VARIABLES[index] = "txn.eas_" .. FACTS[index] end

local function question(txn, body)
  local lengths, texts, count = {}, {}, 0
  local function add(name, value)
    if value == nil then return end
    local text = tostring(value)
    lengths[count + 1], lengths[count + 2] = #name, #text
    texts[count + 1], texts[count + 2] = name, text
    count = count + 2
  end
  for index = 1, #FACTS do add(FACTS[index], txn:get_var(VARIABLES[index])) end
  -- The connection's own facts last as long as it does, so they need not be remembered.
  add("src", txn.f:src())
  add("src_port", txn.f:src_port())
  add("sni", txn.f:ssl_fc_sni())
  add("status", txn.f:status())
  for name, values in pairs(txn.http:res_get_headers()) do
    for index = 0, #values do add("<" .. name, values[index]) end
  end
  add("answer", body)
  local payload = table.concat(lengths, " ") .. "\n" .. table.concat(texts)
  return "EAS2 " .. #payload .. "\n" .. payload
end

-- Whether a body can hold the text 123 in any spelling: in pieces, in tables, out of order. Each has
-- the three digits; a compressed body reveals nothing, so the judge is asked.
local function may_be(body)
  return string.find(body, "1", 1, true) ~= nil and string.find(body, "2", 1, true) ~= nil
    and string.find(body, "3", 1, true) ~= nil
end

-- A judge that may be asked now, its index, or nil. Only one question tries one that rests.
local function judge_to_ask(now, skipped)
  for step = 1, #JUDGES do
    local index = (turn + step - 1) % #JUDGES + 1
    local state = health[index]
    if not skipped[index] then
      if state.failures < FAILURES then return index end
      if now >= state.rests_until and now >= state.tried_until then
        state.tried_until = now + LIMIT_S
        return index
      end
    end
  end
  return nil
end

-- A log line in the form of the others. The name comes from the configuration.
local function tell(level, outcome, index, what)
  local name = string.gsub(JUDGES[index].name, '["\\]', "?")
  core.log(level, '{"@timestamp":"' .. os.date("!%Y-%m-%dT%H:%M:%S.000Z", core.now().sec)
    .. '","ecs":{"version":"8.11"},"event":{"action":"eas.judge","outcome":"' .. outcome
    .. '"},"message":"the judge ' .. name .. " " .. what .. '"}')
end

local function answered(index)
  if health[index].failures >= FAILURES then tell(core.notice, "success", index, "answers again") end
  health[index].failures, health[index].tried_until = 0, 0
end

local function failed(index, why)
  local state = health[index]
  state.failures = state.failures + 1
  state.tried_until = 0
  state.rests_until = seconds() + REST_S
  if state.failures == FAILURES then
    tell(core.warning, "failure", index, why .. ": answers pass unjudged, and it is asked again in "
      .. REST_S .. " s")
  end
end

-- https, a name of letters, digits, dots and hyphens, and the one path: nothing else may become a
-- header, whatever the judge says.
local function is_location(text)
  if #text > 300 or string.sub(text, 1, 8) ~= "https://" then return false end
  if string.sub(text, -#PATH) ~= PATH then return false end
  local host = string.sub(text, 9, -#PATH - 1)
  if #host < 3 or string.find(host, ".", 1, true) == nil then return false end
  for position = 1, #host do
    local byte = string.byte(host, position)
    local known = (byte >= 97 and byte <= 122) or (byte >= 48 and byte <= 57)
      or byte == 45 or byte == 46
    if not known then return false end
  end
  return true
end

-- The settings of exactly one valid server (MS-ASCMD 4.2.4): the judge wrote the rest by its own
-- rules.
local function are_settings(text)
  if #text > MAX_SETTINGS or string.sub(text, 1, #SETTINGS) ~= SETTINGS then return false end
  local opens = string.find(text, "<Url>", 1, true)
  local closes = string.find(text, "</Url>", 1, true)
  if opens == nil or closes == nil or closes < opens then return false end
  local ends = "</Server></Settings></Action></Response></Autodiscover>"
  return is_location(string.sub(text, opens + 5, closes - 1)) and string.sub(text, -#ends) == ends
end

-- Whether a judge may say these words.
local function is_known(word, reason, given)
  for position = 1, #reason do
    local byte = string.byte(reason, position)
    if not ((byte >= 97 and byte <= 122) or byte == 95) then return false end
  end
  if word == "pass" then return given == "" end
  if word == "redirect" then return is_location(given) end
  return word == "settings" and are_settings(given)
end

-- The next bytes on this socket, or nil. A socket's time limit starts over with every byte, so
-- everything after the first byte, which a judge writes at once, is read in small pieces.
local function read_bytes(socket, count, ends)
  local pieces = {}
  while count > 0 do
    if seconds() > ends then return nil end
    socket:settimeout(PAUSE_S)
    local wanted = math.min(count, PIECE)
    local piece = socket:receive(wanted)
    if piece == nil or #piece ~= wanted then return nil end
    pieces[#pieces + 1] = piece
    count = count - wanted
  end
  return table.concat(pieces)
end

-- The judge's words on this socket: `word`, `reason`, `given`; or nil and why.
local function read_reply(socket, ends)
  socket:settimeout(math.max(ends - seconds(), 0.001))
  local first_byte = socket:receive(1)
  if first_byte == nil or #first_byte ~= 1 then return nil, "gives no answer in time" end
  local rest = read_bytes(socket, 11, ends)
  if rest == nil then return nil, "gives half an answer" end
  local head = first_byte .. rest
  local digits = string.sub(head, 6, 11)
  local length = tonumber(digits, 10)
  if string.sub(head, 1, 5) ~= "EAS2 " or string.sub(head, 12) ~= "\n" or length == nil
    or length < 1 or length > MAX_REPLY or string.format("%06d", length) ~= digits then
    return nil, "speaks another version"
  end
  local payload = read_bytes(socket, length, ends)
  if payload == nil then return nil, "gives half an answer" end
  local line_end = string.find(payload, "\n", 1, true)
  local line = line_end and string.sub(payload, 1, line_end - 1) or payload
  local blank = string.find(line, " ", 1, true)
  if blank == nil or #line > 100 then return nil, "speaks another version" end
  local word, reason = string.sub(line, 1, blank - 1), string.sub(line, blank + 1)
  local given = line_end and string.sub(payload, line_end + 1) or ""
  if not is_known(word, reason, given) then return nil, "speaks another version" end
  return word, reason, given
end

local function asked(index, text, ends)
  local address = JUDGES[index]
  local socket = core.tcp()
  socket:settimeout(CONNECT_S)
  local connected
  if address.path then connected = socket:connect(address.path)
  else connected = socket:connect(address.host, address.port) end
  if not connected then
    socket:close()
    return nil, "is not there", true
  end
  socket:settimeout(math.max(ends - seconds(), 0.001))
  local sent = socket:send(text)
  local word, reason, given
  if sent ~= #text then word, reason = nil, "takes no question"
  else word, reason, given = read_reply(socket, ends) end
  socket:close()
  return word, reason, given
end

-- The judge's verdict on this exchange; nil and why when there is none.
local function verdict(text)
  local ends = seconds() + LIMIT_S
  local skipped = {}
  local why = "rests after its failures"
  for _ = 1, #JUDGES do
    local index = judge_to_ask(seconds(), skipped)
    if index == nil then return nil, why end
    turn = index % #JUDGES
    local word, reason, given = asked(index, text, ends)
    if word ~= nil then
      answered(index)
      return word, reason, given
    end
    failed(index, reason)
    why = reason
    if given ~= true then return nil, why end   -- it may have begun: nobody else is asked
    skipped[index] = true
  end
  return nil, why
end

-- Whether a header of Exchange's answer says so; for the few that our answer keeps.
local function first(headers, name)
  local values = headers[name]
  return values and (values[0] or values[1])
end

local function reply_of(txn, status, reason)
  local headers = txn.http:res_get_headers()
  local reply = txn:reply()
  reply:set_status(status, reason)
  local date = first(headers, "date")
  if date then reply:add_header("Date", date) end
  reply:add_header("Cache-Control", "private")
  local connection = first(headers, "connection")
  if connection and string.find(string.lower(connection), "close", 1, true) then
    reply:add_header("Connection", "close")
  end
  return reply
end

local function redirect(txn, location)
  local reply = reply_of(txn, 451, "Redirect")
  reply:add_header("X-MS-Location", location)
  reply:add_header("Content-Length", "0")
  txn:done(reply)
end

local function settings(txn, body)
  local reply = reply_of(txn, 200, "OK")
  for name, values in pairs(txn.http:res_get_headers()) do
    if string.sub(name, 1, 15) == "x-ms-credential" then
      for index = 0, #values do
        if values[index] ~= nil then reply:add_header(name, values[index]) end
      end
    end
  end
  reply:add_header("Content-Type", "text/xml; charset=utf-8")
  reply:add_header("Content-Length", tostring(#body))
  reply:set_body(body)
  txn:done(reply)
end

local function free_place(now)
  for index = 1, AT_ONCE do
    if places[index] <= now then return index end
  end
  return nil
end

-- Exchange's answer passes, and HAProxy's own log says that nobody has judged it.
local function unjudged(txn, why)
  txn:set_var("txn.eas_reason", "internal_error")
  txn:set_var("txn.eas_outcome", "failure")
  txn:set_var("txn.eas_error", why)
end

local function judge(txn)
  local body
  if txn:get_var("txn.eas_held") then
    body = txn.f:res_body() or ""
    if #body > MAX_BODY then return end
    if txn:get_var("txn.eas_plain") and not may_be(body) then return end
  end
  local place = free_place(seconds())
  if place == nil then
    unjudged(txn, AT_ONCE .. " questions are under way")
    return
  end
  places[place] = seconds() + LIMIT_S + CONNECT_S
  local fine, word, reason, given = pcall(function() return verdict(question(txn, body)) end)
  places[place] = 0
  -- An old worker that ends in the same turn in which a socket was closed crashes (2.6). One turn of
  -- the poller in between prevents that.
  core.msleep(1)
  if not fine then
    unjudged(txn, "a fault in eas.lua")
    return
  end
  if word == nil then
    unjudged(txn, "the judge " .. reason)
    return
  end
  txn:set_var("txn.eas_said", word)
  txn:set_var("txn.eas_given", given)
end

-- Do what the judge said, after the rule that leaves the line to the judge's journal.
local function obey(txn)
  local word = txn:get_var("txn.eas_said")
  local discovers = txn:get_var("txn.eas_action") == "eas.autodiscover"
  if word == "redirect" and not discovers then redirect(txn, txn:get_var("txn.eas_given"))
  elseif word == "settings" and discovers then settings(txn, txn:get_var("txn.eas_given"))
  end
end

core.register_action("eas_judge", { "http-res" }, judge, 0)
core.register_action("eas_obey", { "http-res" }, obey, 0)

-- Only for the log: who asks for what, from a base64 query (MS-ASHTTP 2.2.1.1.1.1.1).
local COMMANDS = { --[[COMMANDS]] }

local function digit_of(byte)
  if byte >= 65 and byte <= 90 then return byte - 65 end
  if byte >= 97 and byte <= 122 then return byte - 71 end
  if byte >= 48 and byte <= 57 then return byte + 4 end
  if byte == 43 or byte == 45 then return 62 end
  if byte == 47 or byte == 95 then return 63 end
  return nil
end

-- The first bytes of a text in base64, as numbers; those that can be read.
local function decoded(text)
  local bytes, held, bits = {}, 0, 0
  for position = 1, math.min(#text, 400) do
    local digit = digit_of(string.byte(text, position))
    if digit == nil then break end
    held, bits = (held * 64 + digit) & 65535, bits + 6
    if bits >= 8 then
      bits = bits - 8
      bytes[#bytes + 1] = (held >> bits) & 255
    end
  end
  return bytes
end

-- The field whose length is at `at`: its first and last byte, and where the next one begins.
local function field(bytes, at)
  local length = bytes[at]
  if length == nil or at + length > #bytes then return nil end
  return at + 1, at + length, at + length + 1
end

-- Bytes as text if all of them are printable ASCII; else nil.
local function as_text(bytes, from, to)
  local letters = {}
  for index = from, to do
    if bytes[index] < 32 or bytes[index] > 126 then return nil end
    letters[#letters + 1] = string.char(bytes[index])
  end
  return table.concat(letters)
end

local function as_hex(bytes, from, to)
  local digits = {}
  for index = from, to do digits[#digits + 1] = string.format("%02X", bytes[index]) end
  return table.concat(digits)
end

local function query(txn)
  local bytes = decoded(txn.f:query() or "")
  local command = COMMANDS[bytes[2] or -1]
  if command == nil then return end
  txn:set_var("txn.eas_command", command)
  local from, to, policy_key = field(bytes, 5)
  if from == nil then return end
  txn:set_var("txn.eas_device", as_text(bytes, from, to) or as_hex(bytes, from, to))
  local _, _, device_type = field(bytes, policy_key)
  if device_type == nil then return end
  from, to = field(bytes, device_type)
  if from == nil then return end
  txn:set_var("txn.eas_device_type", as_text(bytes, from, to) or "")
end

core.register_action("eas_query", { "http-req" }, query, 0)
