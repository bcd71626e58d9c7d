// Memory that cannot be had ends hull with a line and an exit code, on whichever thread it was
// wanted: no exception goes through threads, coroutines and the C code between them.
#pragma once

namespace hull::cli {

// `tell` is called first, on the thread that wanted the memory, and allocates nothing: somebody
// will end hull in an orderly way, and has a second for that. Null: it ends at once. Before there
// are threads, or again with another one. Not for programs that do without (new (std::nothrow)).
void end_when_out_of_memory(int exit_code, void (*tell)() = nullptr);

}  // namespace hull::cli
