--- Character references of HTML: `&amp;`, `&#169;`, `&#xA9;` to UTF-8. Those of HTML 4, `apos`, and all numbers.
local entities = {}

-- What browsers take the numbers 128 to 159 for: the characters of windows-1252. 0: none.
local windows = { 0x20AC, 0, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,
  0x017D, 0, 0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,
  0x017E, 0x0178 }

-- Runs of names whose characters follow one another; "-" is one without a name.
local runs = {
  [34] = "quot - - - amp apos", [60] = "lt - gt",
  [160] = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 "
    .. "sup3 acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc "
    .. "Atilde Auml Aring AElig Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve "
    .. "Oacute Ocirc Otilde Ouml times Oslash Ugrave Uacute Ucirc Uuml Yacute THORN szlig agrave aacute "
    .. "acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave iacute icirc iuml eth ntilde "
    .. "ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml",
  [0x152] = "OElig oelig", [0x160] = "Scaron scaron", [0x178] = "Yuml", [0x192] = "fnof", [0x2C6] = "circ",
  [0x2DC] = "tilde",
  [0x391] = "Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu Nu Xi Omicron Pi Rho - Sigma Tau "
    .. "Upsilon Phi Chi Psi Omega",
  [0x3B1] = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigmaf sigma "
    .. "tau upsilon phi chi psi omega",
  [0x3D1] = "thetasym upsih - - - piv", [0x2002] = "ensp emsp", [0x2009] = "thinsp", [0x200C] = "zwnj zwj lrm rlm",
  [0x2013] = "ndash mdash", [0x2018] = "lsquo rsquo sbquo", [0x201C] = "ldquo rdquo bdquo",
  [0x2020] = "dagger Dagger bull", [0x2026] = "hellip", [0x2030] = "permil", [0x2032] = "prime Prime",
  [0x2039] = "lsaquo rsaquo", [0x203E] = "oline", [0x2044] = "frasl", [0x20AC] = "euro", [0x2111] = "image",
  [0x2118] = "weierp", [0x211C] = "real", [0x2122] = "trade", [0x2135] = "alefsym",
  [0x2190] = "larr uarr rarr darr harr", [0x21B5] = "crarr", [0x21D0] = "lArr uArr rArr dArr hArr",
  [0x2200] = "forall - part exist - empty - nabla isin notin - ni", [0x220F] = "prod - sum minus",
  [0x2217] = "lowast", [0x221A] = "radic", [0x221D] = "prop infin - ang", [0x2227] = "and or cap cup int",
  [0x2234] = "there4", [0x223C] = "sim", [0x2245] = "cong", [0x2248] = "asymp", [0x2260] = "ne equiv",
  [0x2264] = "le ge", [0x2282] = "sub sup nsub - sube supe", [0x2295] = "oplus - otimes", [0x22A5] = "perp",
  [0x22C5] = "sdot", [0x2308] = "lceil rceil lfloor rfloor", [0x2329] = "lang rang", [0x25CA] = "loz",
  [0x2660] = "spades - - clubs - hearts diams",
}

local function utf8_of(code)
  local char, floor = string.char, math.floor
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return char(0xE0 + floor(code / 4096), 0x80 + floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xF0 + floor(code / 262144), 0x80 + floor(code / 4096) % 64, 0x80 + floor(code / 64) % 64,
    0x80 + code % 64)
end

local named = {}
for first, names in pairs(runs) do
  local code = first
  for name in names:gmatch("%S+") do
    named[name] = utf8_of(code)
    code = code + 1
  end
end

local function numbered(digits, base)
  local code = #digits <= 8 and tonumber(digits, base) or 0
  if code >= 0x80 and code <= 0x9F then code = windows[code - 0x7F] end
  if code == 0 or code > 0x10FFFF or (code >= 0xD800 and code <= 0xDFFF) then code = 0xFFFD end
  return utf8_of(code)
end

--- The character that the "&" at byte `at` of `text` begins, and the byte of its reference's end; nil when it is none.
function entities.at(text, at)
  local digits, semicolon = text:match("^&#(%d+)(;?)", at)
  if digits then return numbered(digits, 10), at + 1 + #digits + #semicolon end
  digits, semicolon = text:match("^&#[xX](%x+)(;?)", at)
  if digits then return numbered(digits, 16), at + 2 + #digits + #semicolon end
  local name = text:sub(at + 1, at + 12):match("^(%a%w*);")
  if name and named[name] then return named[name], at + 1 + #name end
end

return entities
