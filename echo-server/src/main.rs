//! TCP echo.

fn main() {}
