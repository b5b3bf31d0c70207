-- What map look-ups cannot decide: tests on method, headers, query parameters and regular expressions, and draws by weight.
-- Loaded once per thread (lua-load-per-thread): nothing here is shared, nothing is locked.
--
-- A chain is compiled once into a list of entries and kept by its id; ids are digests of the text, so that an entry is
-- never stale. Any error answers 500: better none than another's route.

-- A request leaves a handful of small tables behind and little else: what a generational collector is made for.
collectgarbage("generational")

local CHAINS_MAX = 20000 -- compiled chains, regexes, draws, policies, mirrors, sessions and guards kept; when full, all are forgotten and made again
local DEPTH_MAX = 200    -- chains that continue chains
local MIRRORS_MAX = 200  -- copies on their way, of this thread; more are not made
local MIRRORS_EACH = 50  -- of them to one backend: one that does not answer is not to be in the way of the others
local MIRROR_WAIT = 30   -- seconds a copy may take
local BODY_MAX = 12000   -- bytes of a body that is copied
local BODY_WAIT = 1000   -- ms that a body of known length is waited for
local END_WAIT = 25      -- ms that the end of any other is waited for
local FULL = 1100        -- bytes of a buffer behind which nothing more comes in: tune.maxrewrite, and a little
local BUCKETS = 8        -- files the regexes are spread over, by the first byte of their id

local mirrors_address = ... -- frontend mirrors of this HAProxy

local byte, find, gsub, lower, sub = string.byte, string.find, string.gsub, string.lower, string.sub
local char = string.char

local chains, regexes, draws, policies, mirrors, sessions, guards = {}, {}, {}, {}, {}, {}, {}
local n_kept = 0
local refs = {}

local function keep(cache, id, value)
	if n_kept >= CHAINS_MAX then
		for _, c in ipairs({chains, regexes, draws, policies, mirrors, sessions, guards}) do
			for k in pairs(c) do c[k] = nil end
		end
		n_kept = 0
	end
	n_kept = n_kept + 1
	cache[id] = value
	return value
end

-- The map's elements themselves: no index of our own per thread.
local function entry(map, key)
	local ref = refs[map]
	if not ref then
		ref = core.get_patref("maps/" .. map .. ".map")
		refs[map] = ref
	end
	return ref[key]
end

local function decode(s)
	return (gsub(s, "%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

-- ---- compiling ----

local function new_regex(text)
	local ok, re = Regex.new(text, true)
	if not ok then error("regular expression: " .. tostring(re)) end
	return re
end

-- text: limits, then "^(?:<pattern>)\\z"
local function regex(id)
	local re = regexes[id]
	if re then return re end
	local text = entry(string.format("regex-%02d", byte(id) % BUCKETS), id)
	if not text then error("no regex " .. id) end
	text = decode(text)
	local at = find(text, "^", 1, true)
	return keep(regexes, id, {yes = new_regex(text), limits = sub(text, 1, at - 1), body = sub(text, at)})
end

-- A search that ran into a limit (steps, or the 32 KB that HAProxy gives PCRE2) says "no", too, and a long enough path
-- must not slip past its route that way. So a "no" counts only when the negation says "yes"; else the request fails.
local function regex_matches(re, value)
	if re.yes:exec(value) then return true end
	re.no = re.no or new_regex(re.limits .. "^(?!" .. re.body .. ")")
	if re.no:exec(value) then return false end
	error("regular expression gave up: " .. re.body)
end

-- "=value" or "~<regex id>" → a function of the value
local function value_test(text)
	local rest = sub(text, 2)
	if byte(text) == 61 then
		local wanted = decode(rest)
		return function(value) return value == wanted end
	end
	local re = regex(rest)
	return function(value) return regex_matches(re, value) end
end

-- Lines of one name are joined by ",". One line is the rule, and reading it alone much cheaper than all headers.
local function header_test(name, test)
	return function(req)
		local f = req.txn.f
		local n = f:req_fhdr_cnt(name)
		if n == 0 then return false end
		local value = f:req_fhdr(name, 1) or ""
		for i = 2, n do value = value .. "," .. (f:req_fhdr(name, i) or "") end
		return test(value)
	end
end

local function query_decode(s)
	return decode((gsub(s, "+", " ")))
end

-- A "+" is no blank there: no name has one. Nearly no name is encoded, so looking comes before making a copy.
local function is_named(query, from, to, name)
	if find(query, "%", from, true) then
		return decode(sub(query, from, to)) == name
	end
	return to - from + 1 == #name and sub(query, from, to) == name
end

-- The first parameter of that name.
local function query_value(query, name)
	local at = 1
	while at <= #query do
		local stop = find(query, "&", at, true) or #query + 1
		local equals = find(query, "=", at, true)
		if not equals or equals > stop then equals = stop end
		if is_named(query, at, equals - 1, name) then
			return query_decode(sub(query, equals + 1, stop - 1))
		end
		at = stop + 1
	end
end

local function query_test(name, test)
	return function(req)
		local query = req.query
		if not query then
			query = req.txn.f:query() or ""
			req.query = query
		end
		local value = query_value(query, name)
		return value ~= nil and not find(value, "\0", 1, true) and test(value)
	end
end

local function path_of(req)
	local path = req.path
	if not path then
		path = req.txn.f:path() or ""
		req.path = path
	end
	return path
end

local function compile_test(text)
	local kind, rest = sub(text, 1, 1), sub(text, 3)
	if kind == "m" then
		local method = decode(rest)
		return function(req)
			req.method = req.method or req.txn.f:method()
			return req.method == method
		end
	end
	if kind == "p" then
		local test = value_test(sub(text, 2))
		return function(req) return test(path_of(req)) end
	end
	local at = find(rest, "[=~]")
	local name, test = decode(sub(rest, 1, at - 1)), value_test(sub(rest, at))
	if kind == "h" then return header_test(name, test) end
	if kind == "q" then return query_test(name, test) end
	error("unknown test " .. text)
end

local compile

-- One word → {tests…, to = reference | into = chain, last = true | falls = host key}
local function compile_word(word, depth)
	local first = sub(word, 1, 1)
	if first == "+" then return {into = compile(sub(word, 2), depth + 1)} end
	if first == "@" then return {into = compile(sub(word, 2), depth + 1), last = true} end
	if first == "^" then return {falls = sub(word, 2)} end
	local at = find(word, ">", 1, true)
	local done = {to = sub(word, at + 1)}
	for test in string.gmatch(sub(word, 1, at - 1), "[^,]+") do done[#done + 1] = compile_test(test) end
	return done
end

compile = function(id, depth)
	local chain = chains[id]
	if chain then return chain end
	if depth > DEPTH_MAX then error("chains too deep") end
	local text = entry("chain", id)
	if not text then error("no chain " .. id) end
	chain = {}
	for word in string.gmatch(text, "%S+") do chain[#chain + 1] = compile_word(word, depth) end
	return keep(chains, id, chain)
end

-- ---- choosing ----

-- A reference; "^", key where another host is to be asked; nil where nothing matches.
local function walk(chain, req)
	for i = 1, #chain do
		local e = chain[i]
		if e.into then
			local to, key = walk(e.into, req)
			if to or e.last then return to, key end
		elseif e.falls then
			return "^", e.falls
		else
			local hit = true
			for j = 1, #e do
				if not e[j](req) then
					hit = false
					break
				end
			end
			if hit then return e.to end
		end
	end
end

local function choose(txn)
	local to, key = walk(compile(sub(txn:get_var("txn.r"), 2), 0), {txn = txn})
	if to == "^" then
		-- "80/com.sample." → what follows the listener; a host that is not there must not become a shorter one.
		if entry("host", key) then
			txn:set_var("txn.h", (gsub(sub(key, #txn:get_var("sess.l") + 1), "#$", "")))
		else
			to = nil
		end
	end
	txn:set_var("txn.r", to or "!404")
end

-- ---- drawing ----

local function compile_draw(text)
	local draw = {total = 0}
	for weight, to in string.gmatch(text, "(%d+):(%S+)") do
		draw[#draw + 1] = {weight = tonumber(weight), now = 0, to = to}
		draw.total = draw.total + tonumber(weight)
	end
	if #draw == 0 then error("empty draw") end
	return keep(draws, text, draw)
end

-- The fields of a rule.map value, counted as routing.cfg does.
local function fields_of(value)
	local fields = {}
	for field in string.gmatch(value .. "|", "([^|]*)|") do fields[#fields + 1] = field end
	return fields
end

-- The path and the redirect of one backendRef: what routing.cfg does of a rule's. An answer, if it is one.
local function lead(txn, letters, fields)
	local f, path = txn.f, nil
	if find(letters, "p", 1, true) then
		path = fields[6]
	elseif find(letters, "n", 1, true) then
		path = fields[8] .. sub(f:path(), tonumber(fields[7]) + 1)
		if path == "" then path = "/" end
	end
	if not find(letters, "c", 1, true) then
		txn.http:req_set_path(path)
		return
	end
	local host, query = f:req_fhdr("host") or "", f:query() or ""
	if host == "" then return {status = 400, headers = {["content-type"] = {"text/plain"}}, body = "a redirect needs a Host\n"} end
	host = find(letters, "h", 1, true) and fields[5] or txn.c:host_only(host)
	local scheme = find(letters, "u", 1, true) and fields[10] or "http"
	local location = scheme .. "://" .. host .. (fields[11] or "") .. (path or f:path()) .. (query ~= "" and "?" .. query or "")
	return {status = tonumber(fields[9]), headers = {location = {location}}}
end

-- Smooth weighted round robin: exact over every `total` requests of this thread.
local function draw(txn)
	local text = txn:get_var("txn.r")
	local d = draws[text] or compile_draw(text)
	local best
	for i = 1, #d do
		local e = d[i]
		e.now = e.now + e.weight
		if not best or e.now > best.now then best = e end
	end
	best.now = best.now - d.total
	local letters, id = string.match(best.to, "^(=%a+)%.(.*)")
	if not id then
		txn:set_var("txn.r", best.to)
		return
	end
	local value = entry("rule", id)
	if not value then error("no rule " .. id) end
	txn:set_var("txn.g", letters)
	txn:set_var("txn.b", value)
	txn:set_var("txn.r", string.match(value, "^[^|]*"))
	if find(letters, "[pnc]") then return lead(txn, letters, fields_of(value)) end
end

-- ---- CORS ----

-- HAProxy's variable-length integer, as encode.c writes it.
local function varint(n)
	if n < 240 then return char(n) end
	local bytes = {char((n & 255) | 240)}
	n = (n - 240) >> 4
	while n >= 128 do
		bytes[#bytes + 1] = char((n & 255) | 128)
		n = (n - 128) >> 7
	end
	bytes[#bytes + 1] = char(n)
	return table.concat(bytes)
end

-- One of the headers that add-headers-bin adds.
local function bin(name, value)
	return varint(#name) .. name .. varint(#value) .. value
end

-- "https://www.a.b:443" → "https", "www.a.b", "443"; nil: none that an entry could name ("null").
local function origin_parts(text)
	local scheme, host, port = string.match(lower(text), "^(https?)://([%w%._*-]+):?(%d*)$")
	if not scheme then scheme, host, port = string.match(lower(text), "^(https?)://(%[[%x:.]+%]):?(%d*)$") end
	if not scheme then return end
	return scheme, host, port ~= "" and port or scheme == "http" and "80" or "443"
end

local function compile_origin(text)
	local scheme, host, port = origin_parts(text)
	local any, suffix = host == "*", sub(host, 1, 2) == "*." and sub(host, 2)
	return function(s, h, p)
		if s ~= scheme or p ~= port then return false end
		return any or h == host or (suffix and #h > #suffix and sub(h, -#suffix) == suffix) or false
	end
end

local function compile_cors(text)
	local cors = {origins = {}, any = false}
	for key, value in string.gmatch(text, "(%a+)=(%S+)") do
		local list = {}
		for word in string.gmatch(value, "[^,]+") do list[#list + 1] = decode(word) end
		cors[key] = list
	end
	cors.credentials = cors.credentials ~= nil
	for _, origin in ipairs(cors.origin or {}) do
		if origin == "*" then cors.any = true else cors.origins[#cors.origins + 1] = compile_origin(origin) end
	end
	local expose = {}
	for _, name in ipairs(cors.expose or {}) do
		if name ~= "*" or not cors.credentials then expose[#expose + 1] = name end
	end
	cors.every = (cors.credentials and bin("access-control-allow-credentials", "true") or "") ..
		(#expose > 0 and bin("access-control-expose-headers", table.concat(expose, ", ")) or "")
	-- What everybody may read by any name needs no look at the Origin, and caches need not tell origins apart.
	cors.open = cors.any and not cors.credentials and bin("access-control-allow-origin", "*") .. cors.every
	return keep(policies, text, cors)
end

local function origin_allowed(cors, origin)
	if cors.any then return true end
	local scheme, host, port = origin_parts(origin)
	for i = 1, scheme and not find(host, "*", 1, true) and #cors.origins or 0 do
		if cors.origins[i](scheme, host, port) then return true end
	end
	return false
end

-- A list of the filter; of "*", what was asked for: that is right with credentials and without.
local function allowed(name, list, asked)
	if not list or not asked then return "" end
	return bin(name, list[1] == "*" and asked or table.concat(list, ", "))
end

-- txn.cs: what tells the browser, for http-after-response. A preflight is answered 204.
local function cors(txn)
	local text = txn:get_var("txn.o")
	local f, policy = txn.f, policies[text] or compile_cors(text)
	local origin = f:req_fhdr_cnt("origin") == 1 and f:req_fhdr("origin") or nil
	local method = origin and f:method() == "OPTIONS" and f:req_fhdr("access-control-request-method") or nil
	local out = policy.open
	if not out then
		out = bin("vary", "Origin")
		if origin and origin_allowed(policy, origin) then
			out = out .. bin("access-control-allow-origin", origin) .. policy.every
		else
			policy = nil
		end
	end
	if method and policy then
		out = out .. allowed("access-control-allow-methods", policy.method, method) ..
			allowed("access-control-allow-headers", policy.header, f:req_fhdr("access-control-request-headers")) ..
			bin("access-control-max-age", policy.age[1])
	end
	txn:set_var("txn.cs", out .. "\0\0")
	if method then txn:set_var("txn.r", "!204") end
end

-- ---- guards ----

local function compile_networks(text)
	local list = {}
	for network in string.gmatch(text, "[^,]+") do
		list[#list + 1] = core.parse_addr(network) or error("network " .. network)
	end
	return list
end

-- What a limit counts by is in a variable (of addresses, of headers) that the configuration tracks, by this counter.
local UNITS = {
	second = {address = "txn.q1", header = "txn.q4", counter = 0, seconds = "1"},
	minute = {address = "txn.q2", header = "txn.q5", counter = 1, seconds = "60"},
	hour = {address = "txn.q3", header = "txn.q6", counter = 2, seconds = "3600"},
}

-- HAProxy's mean takes a single request for one until the next time is over, too: then each is counted twice.
local function compile_limit(text)
	local requests, unit, scope, header = string.match(text, "^(%d+):(%a+):([^:]+):?(.*)$")
	local times = tonumber(requests) == 1 and 2 or 1
	return {most = tonumber(requests) * times, times = times, unit = UNITS[unit] or error("limit " .. text), scope = decode(scope),
		header = header ~= "" and decode(header) or nil}
end

local function compile_users(text)
	local users = {}
	for name, verifier in string.gmatch(text, "([^,:]+):([^,]+)") do users[decode(name)] = verifier end
	return users
end

local COMPILE = {allow = compile_networks, deny = compile_networks, limit = compile_limit, realm = decode, salt = decode, users = compile_users}

-- "guard allow=10.0.0.0/8 deny=10.1.0.0/16,2001:db8::/32;guard limit=5:second:ns/f realm=x salt=ns/f users=…", see rule.c
local function compile_guards(text)
	local list = {}
	for one in string.gmatch(text, "[^;]+") do
		local guard, known = {}, false
		for key, value in string.gmatch(one, " (%a+)=(%S+)") do
			guard[key] = COMPILE[key](value)
			known = true
		end
		if not known or (guard.realm and not guard.users) then error("a guard without anything") end
		list[#list + 1] = guard
	end
	return keep(guards, text, list)
end

-- The guards are the last field of the rule.
local function guards_of(txn)
	local text = string.match(txn:get_var("txn.v"), "[^|]*$")
	return guards[text] or compile_guards(text)
end

local function inside(networks, address)
	for i = 1, #networks do
		if core.match_addr(networks[i], address) then return true end
	end
	return false
end

-- One that is told as IPv6 and is IPv4 is IPv4.
local function plain_address(f)
	local text = f:src() or ""
	return string.match(text, "^::[fF][fF][fF][fF]:(%d+%.%d+%.%d+%.%d+)$") or text
end

-- As one client counts: whoever has an IPv6 address has all of its /64, so only its first four groups matter.
local function client_name(f)
	local text = plain_address(f)
	if not find(text, ":", 1, true) then return text end
	local head, tail = string.match(text, "^(.-)::(.*)$")
	local groups, behind = {}, {}
	for group in string.gmatch(head or text, "[^:]+") do groups[#groups + 1] = group end
	for group in string.gmatch(tail or "", "[^:]+") do behind[#behind + 1] = group end
	-- The last two may be told as "1.2.3.4".
	local missing = 8 - #groups - #behind - (find(text, ".", 1, true) and 1 or 0)
	for _ = 1, tail and missing or 0 do groups[#groups + 1] = "0" end
	for i = 1, #behind do groups[#groups + 1] = behind[i] end
	return table.concat(groups, ":", 1, 4) .. "::/64"
end

-- Whose request it is, for the limit. What a header says may be a secret, and of any length.
local function count_by(txn, limit)
	local value = limit.header and txn.f:req_fhdr_cnt(limit.header) > 0 and txn.f:req_fhdr(limit.header)
	if value then
		txn:set_var(limit.unit.header, limit.scope .. " " .. lower(txn.c:hex(txn.c:sha1(value))))
	else
		txn:set_var(limit.unit.address, limit.scope .. " " .. client_name(txn.f))
	end
end

-- Whom a guard's addresses do not let in: status, gRPC's code and text for them. Else nil, and what else there is to ask is prepared.
local function keep_out(txn)
	local address, list = core.parse_addr(plain_address(txn.f)), guards_of(txn)
	for i = 1, #list do
		local guard = list[i]
		if not address or (guard.deny and inside(guard.deny, address)) or (guard.allow and not inside(guard.allow, address)) then
			return 403, 7, "refused by a filter of the route"
		end
	end
	-- A preflight never gets to the Service, and browsers ask by it whether they may show who they are.
	if txn:get_var("txn.r") == "!204" then return end
	for i = 1, #list do
		local guard = list[i]
		if guard.limit then count_by(txn, guard.limit) end
		if guard.limit or guard.users then txn:set_var("txn.q", "1") end
	end
end

-- RFC 7617. One Authorization header is enough for everybody.
local function is_user(txn, guard)
	if txn.f:req_fhdr_cnt("authorization") ~= 1 then return false end
	local base64 = string.match(txn.f:req_fhdr("authorization"), "^[Bb][Aa][Ss][Ii][Cc] +(%S+)$")
	local name, password = string.match(base64 and txn.c:b64dec(base64) or "", "^([^:]+):(.*)$")
	local verifier = name and guard.users[name]
	return verifier and txn.c:base64(txn.c:sha2(guard.salt .. ":" .. name .. ":" .. txn.c:base64(txn.c:sha1(password)), 256)) == verifier
end

-- The same of limits and users: status, code, text, and a header. A client that comes back when the time is over is let in.
local function refuse(txn)
	local f, list = txn.f, guards_of(txn)
	for i = 1, #list do
		local limit = list[i].limit
		if limit and (f:sc_gpc_rate(0, limit.unit.counter) or 0) >= limit.most then
			return 429, 8, "too many requests", "retry-after", limit.unit.seconds
		end
	end
	for i = 1, #list do
		local limit = list[i].limit
		for _ = 1, limit and limit.times or 0 do f:sc_inc_gpc(0, limit.unit.counter) end
	end
	for i = 1, #list do
		local guard = list[i]
		if guard.users and not is_user(txn, guard) then
			return 401, 16, "a user's name and password are needed", "www-authenticate", 'Basic realm="' .. guard.realm .. '", charset="UTF-8"'
		end
	end
end

local function is_grpc(f)
	return string.match(lower(f:req_fhdr("content-type") or ""), "^application/grpc%f[;+%z ]") ~= nil
end

-- An error lets nobody in.
local function answered(refusal)
	return function(txn)
		local ok, status, code, text, header, value = pcall(refusal, txn)
		if not ok then
			core.Alert("hatchway: guard: " .. tostring(status))
			status, code, text, header = 500, 14, "this rule cannot be served", nil
		end
		if not status then return end
		local grpc, headers = is_grpc(txn.f), {["content-type"] = {"text/plain"}}
		if grpc then headers = {["content-type"] = {"application/grpc"}, ["grpc-status"] = {tostring(code)}, ["grpc-message"] = {text}} end
		if header then headers[header] = {value} end
		txn:done(txn:reply({status = grpc and 200 or status, headers = headers, body = not grpc and text .. "\n" or nil}))
	end
end

-- ---- mirrors ----

-- What belongs to one connection, or says how the message is framed: that is said anew.
local OWN = {}
for name in string.gmatch("connection content-length expect http2-settings keep-alive proxy-connection te trailer " ..
		"transfer-encoding upgrade x-hatchway-mirror", "%S+") do OWN[name] = true end

local n_mirrors, on_way = 0, {} -- on_way: by backend

local function compile_mirrors(text)
	local list = {}
	for numerator, denominator, to in string.gmatch(text, "(%d+)/(%d+):(%S+)") do
		list[#list + 1] = {numerator = tonumber(numerator), denominator = tonumber(denominator), to = to, due = 0}
	end
	return keep(mirrors, text, list)
end

-- Those that are to get a copy of this request: exact over every `denominator` requests of this thread.
local function due_of(list)
	local due = {}
	for i = 1, #list do
		local one = list[i]
		one.due = one.due + one.numerator
		if one.due >= one.denominator then
			one.due = one.due - one.denominator
			due[#due + 1] = one
		end
	end
	return due
end

-- They get one of the next request instead: as if this one had not come. Of many at a time, one is owed at most.
local function put_off(due)
	for i = 1, #due do
		local one = due[i]
		one.due = math.min(one.due + one.denominator - one.numerator, one.denominator - 1)
	end
end

local function now_ms()
	local now = core.now()
	return now.sec * 1000 + now.usec // 1000
end

-- The body, or nil: half of a request is worse than none. One that says its length, and is short, is waited for. What says none
-- may be a call, whose end comes with its headers or right behind them, or a stream that stays open: that is hardly held up.
local function whole_body(f)
	local length, start = tonumber(f:req_fhdr("content-length") or ""), now_ms()
	-- Who asks before sending a body is answered by the Service.
	if (length and length > BODY_MAX) or f:req_fhdr_cnt("expect") > 0 then return nil end
	local wait = length and BODY_WAIT or END_WAIT
	while not f:internal_htx_has_eom() do
		local past = now_ms() - start
		if past < 0 or past >= wait or f:req_body_len() > BODY_MAX or f:internal_htx_free_data() <= FULL then return nil end
		core.wait(wait - past) -- or until more of it is here
	end
	local body = f:req_body() or ""
	return #body <= BODY_MAX and body or nil
end

-- With a length where the client said one, and only there.
local function framed(f, body, lines)
	if f:req_fhdr("content-length") then
		lines[#lines + 1] = "content-length: " .. #body
	elseif #body > 0 then
		lines[#lines + 1] = "transfer-encoding: chunked"
		return string.format("%x\r\n", #body) .. body .. "\r\n0\r\n\r\n"
	end
	return body
end

-- Behind the first line, before the headers: the backend goes there.
local function copy_of(txn, body)
	local f, lines = txn.f, {}
	for name, values in pairs(txn.http:req_get_headers()) do
		for i = 0, OWN[name] and -1 or #values do
			if values[i] then lines[#lines + 1] = name .. ": " .. values[i] end
		end
	end
	if f:src() then lines[#lines + 1] = "x-forwarded-for: " .. f:src() end
	-- What of TE is for the server, too. Those of gRPC refuse a request without it.
	if find(lower(f:req_fhdr("te") or ""), "trailers", 1, true) then lines[#lines + 1] = "te: trailers" end
	local framed_body = framed(f, body, lines)
	return f:method() .. " " .. f:pathq() .. " HTTP/1.1\r\n",
		"connection: close\r\n" .. table.concat(lines, "\r\n") .. "\r\n\r\n" .. framed_body
end

-- The answer's first line is waited for, so that the server gets the request for certain; the rest is nobody's.
local function send_copy(text, to)
	local ok, why = pcall(function()
		local socket = core.tcp()
		socket:settimeout(MIRROR_WAIT)
		if socket:connect(mirrors_address) and socket:send(text) then socket:receive("*l") end
		socket:close()
	end)
	n_mirrors, on_way[to] = n_mirrors - 1, on_way[to] > 1 and on_way[to] - 1 or nil
	if not ok then core.Alert("hatchway: mirror: " .. tostring(why)) end
end

-- Never in the way of the request itself: whatever happens, it goes on.
local function mirror(txn)
	local ok, why = pcall(function()
		local text = txn:get_var("txn.m")
		local due = due_of(mirrors[text] or compile_mirrors(text))
		local body = #due > 0 and whole_body(txn.f)
		if not body then return put_off(due) end
		local line, rest = copy_of(txn, body)
		for i = 1, #due do
			local to = due[i].to
			if n_mirrors < MIRRORS_MAX and (on_way[to] or 0) < MIRRORS_EACH then
				n_mirrors, on_way[to] = n_mirrors + 1, (on_way[to] or 0) + 1
				core.register_task(send_copy, line .. "x-hatchway-mirror: " .. to .. "\r\n" .. rest, to)
			end
		end
	end)
	if not ok then core.Alert("hatchway: mirror: " .. tostring(why)) end
end

-- ---- sessions ----

-- A token is "<the rule's mark><the server's cookie>", where ages matter "-<made>", where rests do "-<last seen>" (seconds, base 16).
-- Nothing in it is secret and nothing believed: one made up chooses among the rule's own servers, as the next new session would.
local SERVER = "hatchway-server" -- the cookie of defaults sticky
local SKEW = 60                  -- seconds that another HAProxy's clock may be ahead

local function compile_session(text)
	local mark, kind, absolute, idle, permanent, name = string.match(text, "^(%w+);(%a+);(%d*);(%d*);(%a*);(.*)$")
	if not mark then error("session " .. text) end
	return keep(sessions, text, {mark = mark, header = kind == "header", absolute = tonumber(absolute), idle = tonumber(idle),
		permanent = permanent ~= "", name = decode(name)})
end

local function session_of(txn)
	local text = txn:get_var("txn.s")
	return sessions[text] or compile_session(text)
end

-- Is the time, as a token has it, less than that ago? Without a limit it does not matter.
local function is_recent(time, limit, now)
	if not limit then return true end
	local t = #time <= 8 and tonumber(time, 16)
	return t and t <= now + SKEW and now < t + limit
end

-- txn.sv: the server; txn.sm: since when.
local function session(txn)
	local s, f, token = session_of(txn), txn.f, nil
	if s.header then token = f:req_fhdr(s.name) else token = f:req_cook(s.name) end
	if not token or sub(token, 1, #s.mark) ~= s.mark then return end
	local server, made, seen = string.match(sub(token, #s.mark + 1), "^(%w+)%-?(%x*)%-?(%x*)$")
	local now = core.now().sec
	if not server or not is_recent(made, s.absolute, now) or not is_recent(seen, s.idle, now) then return end
	txn:set_var("txn.sv", server)
	txn:set_var("txn.sm", made)
	txn.http:req_add_header("cookie", SERVER .. "=" .. server)
end

-- The cookie by which the backend tells a server that it chose; it ends here. "": one that keeps no sessions.
local function chosen(http)
	local lines, others, server = http:res_get_headers()["set-cookie"], {}, nil
	for i = 0, lines and #lines or -1 do
		local value = string.match(lines[i], "^" .. gsub(SERVER, "%-", "%%-") .. "=([^;]*)")
		if value then server = value else others[#others + 1] = lines[i] end
	end
	if server then http:res_del_header("set-cookie") end
	for i = 1, server and #others or 0 do http:res_add_header("set-cookie", others[i]) end
	return server
end

local function token(txn)
	local s, now, fresh = session_of(txn), core.now().sec, chosen(txn.http)
	local server = fresh or txn:get_var("txn.sv")
	-- A cookie that stays as it is need not be told again.
	if not server or server == "" or not (fresh or s.idle or s.header) then return end
	local made = not fresh and tonumber(txn:get_var("txn.sm") or "", 16) or now
	local text = s.mark .. server
	if s.absolute or s.idle then text = text .. string.format("-%x", made) end
	if s.idle then text = text .. string.format("-%x", now) end
	if s.header then return txn.http:res_set_header(s.name, text) end
	local age = s.permanent and "; Max-Age=" .. math.max(made + s.absolute - now, 0) or ""
	txn.http:res_add_header("set-cookie", s.name .. "=" .. text .. age .. "; Path=/; HttpOnly; SameSite=Strict" ..
		(txn.f:ssl_fc() and "; Secure" or ""))
end

local function guarded(fn)
	return function(txn)
		local ok, answer = pcall(fn, txn)
		if not ok then
			txn:set_var("txn.r", "!500")
			core.Alert("hatchway: " .. tostring(answer))
		elseif answer then
			txn:done(txn:reply(answer)) -- by an error of its own, which pcall would take for ours
		end
	end
end

core.register_action("hatchway_choose", {"http-req"}, guarded(choose))
core.register_action("hatchway_cors", {"http-req"}, guarded(cors))
core.register_action("hatchway_guard", {"http-req"}, answered(keep_out))
core.register_action("hatchway_admit", {"http-req"}, answered(refuse))
core.register_action("hatchway_mirror", {"http-req"}, mirror)
core.register_action("hatchway_draw", {"http-req"}, guarded(draw))
core.register_action("hatchway_session", {"http-req"}, guarded(session))
-- An answer is worth more than its token.
core.register_action("hatchway_token", {"http-after-res"}, function(txn)
	local ok, why = pcall(token, txn)
	if not ok then core.Alert("hatchway: session: " .. tostring(why)) end
end)
