//! Arguments in, exit code out.

// `dev` makes and drops thousands of small pieces for each request: docs/performance.md has the
// difference.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    routeto::run()
}
