// The program's own code in memory.
#pragma once

namespace hull {

// Unmaps the code and constants of the program that are resident now: what is still needed comes
// back from the page cache, a few microseconds each, while what only start-up used does not count
// against a process that runs for days. Breakpoints of a debugger go with it. Any thread, any time.
void drop_resident_text();

}  // namespace hull
