#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httplb_fuzz::cache_entry::check(bytes));
