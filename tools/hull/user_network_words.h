// What people type for a user-mode network: hull's own words, and those of Docker (-p), QEMU
// (hostfwd=) and virt-install (portForward…=). Where no address is said, a port is published on the
// host's loopback, whoever's word it is. Errors are kUsage and say what is wrong with the value.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "base/user_network.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

// "[ADDRESS:][PORT]:PORT[/tcp|/udp]", "PORT" for a free one of the host's, and ranges of the same
// length, A-B:C-D.
Result<std::vector<PublishedPort>> parse_publish(std::string_view text);

// Those of one --net option.
class UserNetworkWords {
 public:
  // False if `option` is none of a user-mode network's.
  Result<bool> take(const Suboption& option);
  // When all have been taken.
  Result<UserNetworkSpec> finish();

 private:
  // portForwardN.rangeM.start, .end, .to; 0: not said.
  struct Range {
    uint16_t start = 0;
    uint16_t end = 0;
    uint16_t to = 0;
  };
  struct Forward {
    bool udp = false;
    uint32_t address = kIpv4Loopback;
    std::map<unsigned, Range> ranges;
  };
  Result<bool> take_forward(std::string_view key, std::string_view value);
  Result<void> take_forward_part(Forward& forward, std::string_view part, std::string_view value);
  Result<void> publish(Result<std::vector<PublishedPort>> ports);

  UserNetworkSpec spec_;
  std::map<unsigned, Forward> forwards_;
};

}  // namespace hull::cli
