// Text that others wrote (file names, documents, images, servers, guests), made fit for a terminal
// and for one line of a log. The one place that does so.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hull {

// What is not UTF-8 (RFC 3629) and what a terminal obeys or hides becomes \xNN, byte by byte:
// control characters with newlines and C1, marks that turn the direction of writing, and what has
// no width. The rest stays, so that the result of printable() is what printable() leaves as it is.
std::string printable(std::string_view text);

// The same of the first `limit` bytes, whole characters only; "…" says that there was more.
std::string printable(std::string_view text, size_t limit);

bool is_utf8(std::string_view text);

}  // namespace hull
