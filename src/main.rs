//! The `kwq` binary: nothing but the call into the library.

fn main() -> std::process::ExitCode {
    kwq::cli::main()
}
