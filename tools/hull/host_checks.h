// What this host can do for hull: the rows of `hull doctor`.
#pragma once

#include <string>
#include <vector>

namespace hull::cli {

enum class CheckStatus : unsigned char {
  kOk,
  kNote,  // something is missing that the main job does not need
  kFail,  // the main job cannot work
};

struct HostCheck {
  std::string name;  // "kvm", "io_uring", …
  CheckStatus status;
  std::string finding;
  std::string remedy;  // empty where nothing is to be done
};

std::vector<HostCheck> check_host();

}  // namespace hull::cli
