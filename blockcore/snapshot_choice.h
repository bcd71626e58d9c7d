// Which internal snapshot of an image somebody means.
#pragma once

#include <optional>
#include <string>

namespace hull::blockcore {

// What is given must fit. `any` is an id, or else a name.
struct SnapshotChoice {
  std::optional<std::string> id = std::nullopt;
  std::optional<std::string> name = std::nullopt;
  std::optional<std::string> any = std::nullopt;
};

}  // namespace hull::blockcore
