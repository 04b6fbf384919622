package geo

// DecodeRaw reads the inside of a compact file, for the fuzzer: it would not
// find its way through zstd.
var DecodeRaw = decodeRaw
