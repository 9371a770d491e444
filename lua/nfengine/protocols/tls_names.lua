--- Names of the numbers in TLS, as IANA has them.

local names = {}

local versions = {
  [0x0002] = "SSL 2.0", [0x0300] = "SSL 3.0", [0x0301] = "1.0", [0x0302] = "1.1", [0x0303] = "1.2", [0x0304] = "1.3",
  [0xfeff] = "1.0", [0xfefd] = "1.2", [0xfefc] = "1.3", -- DTLS
}

local alerts = {}
for number, name in ([[0 close_notify 10 unexpected_message 20 bad_record_mac 21 decryption_failed 22 record_overflow
  30 decompression_failure 40 handshake_failure 41 no_certificate 42 bad_certificate 43 unsupported_certificate
  44 certificate_revoked 45 certificate_expired 46 certificate_unknown 47 illegal_parameter 48 unknown_ca
  49 access_denied 50 decode_error 51 decrypt_error 60 export_restriction 70 protocol_version 71 insufficient_security
  80 internal_error 86 inappropriate_fallback 90 user_canceled 100 no_renegotiation 109 missing_extension
  110 unsupported_extension 111 certificate_unobtainable 112 unrecognized_name 113 bad_certificate_status_response
  114 bad_certificate_hash_value 115 unknown_psk_identity 116 certificate_required 120 no_application_protocol]])
  :gmatch "(%d+) ([%l_]+)" do
  alerts[tonumber(number)] = name
end

-- Cipher suites by number; those that programs still offer, and those of old that are best known.
local ciphers = {}
for number, name in ([[
  0001 RSA_WITH_NULL_MD5                         0002 RSA_WITH_NULL_SHA
  0003 RSA_EXPORT_WITH_RC4_40_MD5                0004 RSA_WITH_RC4_128_MD5
  0005 RSA_WITH_RC4_128_SHA                      0006 RSA_EXPORT_WITH_RC2_CBC_40_MD5
  0007 RSA_WITH_IDEA_CBC_SHA                     0008 RSA_EXPORT_WITH_DES40_CBC_SHA
  0009 RSA_WITH_DES_CBC_SHA                      000a RSA_WITH_3DES_EDE_CBC_SHA
  0011 DHE_DSS_EXPORT_WITH_DES40_CBC_SHA         0012 DHE_DSS_WITH_DES_CBC_SHA
  0013 DHE_DSS_WITH_3DES_EDE_CBC_SHA             0014 DHE_RSA_EXPORT_WITH_DES40_CBC_SHA
  0015 DHE_RSA_WITH_DES_CBC_SHA                  0016 DHE_RSA_WITH_3DES_EDE_CBC_SHA
  0018 DH_anon_WITH_RC4_128_MD5                  001b DH_anon_WITH_3DES_EDE_CBC_SHA
  002f RSA_WITH_AES_128_CBC_SHA                  0032 DHE_DSS_WITH_AES_128_CBC_SHA
  0033 DHE_RSA_WITH_AES_128_CBC_SHA              0034 DH_anon_WITH_AES_128_CBC_SHA
  0035 RSA_WITH_AES_256_CBC_SHA                  0038 DHE_DSS_WITH_AES_256_CBC_SHA
  0039 DHE_RSA_WITH_AES_256_CBC_SHA              003a DH_anon_WITH_AES_256_CBC_SHA
  003b RSA_WITH_NULL_SHA256                      003c RSA_WITH_AES_128_CBC_SHA256
  003d RSA_WITH_AES_256_CBC_SHA256               0040 DHE_DSS_WITH_AES_128_CBC_SHA256
  0041 RSA_WITH_CAMELLIA_128_CBC_SHA             0045 DHE_RSA_WITH_CAMELLIA_128_CBC_SHA
  0067 DHE_RSA_WITH_AES_128_CBC_SHA256           006a DHE_DSS_WITH_AES_256_CBC_SHA256
  006b DHE_RSA_WITH_AES_256_CBC_SHA256           0084 RSA_WITH_CAMELLIA_256_CBC_SHA
  0088 DHE_RSA_WITH_CAMELLIA_256_CBC_SHA         008a PSK_WITH_RC4_128_SHA
  008b PSK_WITH_3DES_EDE_CBC_SHA                 008c PSK_WITH_AES_128_CBC_SHA
  008d PSK_WITH_AES_256_CBC_SHA                  0096 RSA_WITH_SEED_CBC_SHA
  009a DHE_RSA_WITH_SEED_CBC_SHA                 009c RSA_WITH_AES_128_GCM_SHA256
  009d RSA_WITH_AES_256_GCM_SHA384               009e DHE_RSA_WITH_AES_128_GCM_SHA256
  009f DHE_RSA_WITH_AES_256_GCM_SHA384           00a2 DHE_DSS_WITH_AES_128_GCM_SHA256
  00a3 DHE_DSS_WITH_AES_256_GCM_SHA384           00a8 PSK_WITH_AES_128_GCM_SHA256
  00a9 PSK_WITH_AES_256_GCM_SHA384               00aa DHE_PSK_WITH_AES_128_GCM_SHA256
  00ab DHE_PSK_WITH_AES_256_GCM_SHA384           00ae PSK_WITH_AES_128_CBC_SHA256
  00af PSK_WITH_AES_256_CBC_SHA384               00ba RSA_WITH_CAMELLIA_128_CBC_SHA256
  00be DHE_RSA_WITH_CAMELLIA_128_CBC_SHA256      00c0 RSA_WITH_CAMELLIA_256_CBC_SHA256
  00c4 DHE_RSA_WITH_CAMELLIA_256_CBC_SHA256      00c6 SM4_GCM_SM3
  00c7 SM4_CCM_SM3                               1301 AES_128_GCM_SHA256
  1302 AES_256_GCM_SHA384                        1303 CHACHA20_POLY1305_SHA256
  1304 AES_128_CCM_SHA256                        1305 AES_128_CCM_8_SHA256
  c002 ECDH_ECDSA_WITH_RC4_128_SHA               c003 ECDH_ECDSA_WITH_3DES_EDE_CBC_SHA
  c004 ECDH_ECDSA_WITH_AES_128_CBC_SHA           c005 ECDH_ECDSA_WITH_AES_256_CBC_SHA
  c007 ECDHE_ECDSA_WITH_RC4_128_SHA              c008 ECDHE_ECDSA_WITH_3DES_EDE_CBC_SHA
  c009 ECDHE_ECDSA_WITH_AES_128_CBC_SHA          c00a ECDHE_ECDSA_WITH_AES_256_CBC_SHA
  c00c ECDH_RSA_WITH_RC4_128_SHA                 c00d ECDH_RSA_WITH_3DES_EDE_CBC_SHA
  c00e ECDH_RSA_WITH_AES_128_CBC_SHA             c00f ECDH_RSA_WITH_AES_256_CBC_SHA
  c011 ECDHE_RSA_WITH_RC4_128_SHA                c012 ECDHE_RSA_WITH_3DES_EDE_CBC_SHA
  c013 ECDHE_RSA_WITH_AES_128_CBC_SHA            c014 ECDHE_RSA_WITH_AES_256_CBC_SHA
  c016 ECDH_anon_WITH_RC4_128_SHA                c018 ECDH_anon_WITH_AES_128_CBC_SHA
  c019 ECDH_anon_WITH_AES_256_CBC_SHA            c023 ECDHE_ECDSA_WITH_AES_128_CBC_SHA256
  c024 ECDHE_ECDSA_WITH_AES_256_CBC_SHA384       c025 ECDH_ECDSA_WITH_AES_128_CBC_SHA256
  c026 ECDH_ECDSA_WITH_AES_256_CBC_SHA384        c027 ECDHE_RSA_WITH_AES_128_CBC_SHA256
  c028 ECDHE_RSA_WITH_AES_256_CBC_SHA384         c029 ECDH_RSA_WITH_AES_128_CBC_SHA256
  c02a ECDH_RSA_WITH_AES_256_CBC_SHA384          c02b ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
  c02c ECDHE_ECDSA_WITH_AES_256_GCM_SHA384       c02d ECDH_ECDSA_WITH_AES_128_GCM_SHA256
  c02e ECDH_ECDSA_WITH_AES_256_GCM_SHA384        c02f ECDHE_RSA_WITH_AES_128_GCM_SHA256
  c030 ECDHE_RSA_WITH_AES_256_GCM_SHA384         c031 ECDH_RSA_WITH_AES_128_GCM_SHA256
  c032 ECDH_RSA_WITH_AES_256_GCM_SHA384          c035 ECDHE_PSK_WITH_AES_128_CBC_SHA
  c036 ECDHE_PSK_WITH_AES_256_CBC_SHA            c037 ECDHE_PSK_WITH_AES_128_CBC_SHA256
  c072 ECDHE_ECDSA_WITH_CAMELLIA_128_CBC_SHA256  c073 ECDHE_ECDSA_WITH_CAMELLIA_256_CBC_SHA384
  c076 ECDHE_RSA_WITH_CAMELLIA_128_CBC_SHA256    c077 ECDHE_RSA_WITH_CAMELLIA_256_CBC_SHA384
  c09c RSA_WITH_AES_128_CCM                      c09d RSA_WITH_AES_256_CCM
  c09e DHE_RSA_WITH_AES_128_CCM                  c09f DHE_RSA_WITH_AES_256_CCM
  c0a0 RSA_WITH_AES_128_CCM_8                    c0a1 RSA_WITH_AES_256_CCM_8
  c0a4 PSK_WITH_AES_128_CCM                      c0a8 PSK_WITH_AES_128_CCM_8
  c0ac ECDHE_ECDSA_WITH_AES_128_CCM              c0ad ECDHE_ECDSA_WITH_AES_256_CCM
  c0ae ECDHE_ECDSA_WITH_AES_128_CCM_8            c0af ECDHE_ECDSA_WITH_AES_256_CCM_8
  cca8 ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256   cca9 ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
  ccaa DHE_RSA_WITH_CHACHA20_POLY1305_SHA256     ccab PSK_WITH_CHACHA20_POLY1305_SHA256
  ccac ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256   ccad DHE_PSK_WITH_CHACHA20_POLY1305_SHA256
  d001 ECDHE_PSK_WITH_AES_128_GCM_SHA256         d002 ECDHE_PSK_WITH_AES_256_GCM_SHA384
]]):gmatch "(%x%x%x%x) (%S+)" do
  ciphers[tonumber(number, 16)] = "TLS_" .. name
end

local function name_or_digits(list, number) return list[number] or ("0x%04x"):format(number) end

--- "1.3", "SSL 3.0", "1.3-draft28", "0x7a7a".
function names.version(number)
  if number >= 0x7f00 and number < 0x7f80 then return ("1.3-draft%d"):format(number - 0x7f00) end
  return name_or_digits(versions, number)
end

--- "TLS_AES_128_GCM_SHA256", "0xff85".
function names.cipher(number) return name_or_digits(ciphers, number) end

--- "handshake_failure", "alert_99".
function names.alert(number) return alerts[number] or "alert_" .. number end

return names
