#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| httplb_fuzz::registry::check(bytes));
