-- wrk: what phones ask. Arguments: the path's kind (eas, owa), how many requests there are to one
-- of a user whose mailbox has moved (0: none), close or keep, how many devices take turns.
local every, devices
local counter = 0
local ordinary, moved = {}, {}

local function eas(user, authorization, device, connection)
  local headers = {
    ["Host"] = "mail.contoso.example",
    ["Authorization"] = authorization,
    ["User-Agent"] = "Android/12.0.0-EAS-2.0",
    ["MS-ASProtocolVersion"] = "14.1",
    ["X-MS-PolicyKey"] = "3141592653",
    ["Content-Type"] = "application/vnd.ms-sync.wbxml",
    ["Connection"] = connection,
  }
  local query = "?Cmd=FolderSync&User=" .. user .. "&DeviceId=D" .. device .. "&DeviceType=Android"
  local body = "\3\1\106\0\0\7\86\82\3\48\0\1\1"
  return wrk.format("POST", "/Microsoft-Server-ActiveSync" .. query, headers, body)
end

local function owa(connection)
  local headers = { ["Host"] = "mail.contoso.example", ["Connection"] = connection }
  return wrk.format("GET", "/owa/", headers)
end

function init(args)
  local kind = args[1]
  local connection = args[3] == "close" and "close" or "keep-alive"
  every, devices = tonumber(args[2]), tonumber(args[4])
  -- anna@contoso.example has moved, bert@contoso.example has not.
  for n = 1, devices do
    moved[n] = eas("anna", "Basic YW5uYUBjb250b3NvLmV4YW1wbGU6eA==", n, connection)
    ordinary[n] = kind == "owa" and owa(connection)
      or eas("bert", "Basic YmVydEBjb250b3NvLmV4YW1wbGU6eA==", n, connection)
  end
end

function request()
  counter = counter + 1
  local device = counter % devices + 1
  if every > 0 and counter % every == 0 then
    return moved[device]
  end
  return ordinary[device]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"requests": %d, "duration_s": %.6f, "p50_ms": %.4f, "p99_ms": %.4f, '
      .. '"failed": %d, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
