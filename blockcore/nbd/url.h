// NBD URLs: nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH (doc/uri.md of the NBD
// project). They come from the user alone, never from an image.
#pragma once

#include <string>
#include <string_view>

#include "blockcore/nbd/socket_address.h"

namespace hull::blockcore::nbd {

// Something that begins with the scheme of any NBD URL, good or bad: no path of a file.
bool is_url(std::string_view text);

struct Url {
  SocketAddress address;
  std::string export_name;
};

// kInvalidConfig: not understood, not supported (TLS), or a host that is no numeric address.
Result<Url> parse_url(std::string_view text);

}  // namespace hull::blockcore::nbd
