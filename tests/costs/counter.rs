//! Counts the allocations of threads that asked for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    // Without a destructor and without an initializer that runs, so it may be used anywhere.
    static COUNT: Cell<Option<&'static AtomicU64>> = const { Cell::new(None) };
}

/// Every allocation of this thread from now on is counted in `count`.
pub fn count_in(count: &'static AtomicU64) {
    COUNT.set(Some(count));
}

struct Counting;

fn note() {
    if let Some(count) = COUNT.get() {
        count.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: all is left to the system's allocator. Counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is what this function wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, and every block came from this allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is what this function wants.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promise, and every block came from this allocator.
        unsafe { System.realloc(block, layout, size) }
    }
}
