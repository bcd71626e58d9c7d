// How far two words are apart: slips of the pen.
#pragma once

#include <cstddef>
#include <string_view>

namespace hull::config {

// How many letters have to be put in, left out, exchanged or swapped with their neighbours. Takes
// time and memory by the product of the lengths.
size_t edit_distance(std::string_view one, std::string_view other);

}  // namespace hull::config
