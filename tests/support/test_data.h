// Files below tests/data, found from the place of the test program in the build directory.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace hull::testing {

// Empty if the program does not lie below the source tree.
inline std::filesystem::path test_data_directory() {
  std::error_code failed;
  std::filesystem::path place = std::filesystem::read_symlink("/proc/self/exe", failed);
  while (place.has_relative_path()) {
    place = place.parent_path();
    if (std::filesystem::is_directory(place / "tests" / "data", failed))
      return place / "tests" / "data";
  }
  return {};
}

inline std::string file_contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace hull::testing
