// Where the image of a network disk is: an NBD server, named by a URL (doc/uri.md of the NBD
// project). blockcore/nbd/url.h reads what is made here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hull::config {

// Something that begins with the scheme of an NBD URL and thus is no path.
bool is_nbd_url(std::string_view text);

// The parts are escaped as they have to be. `port` 0: the default.
std::string nbd_url_over_tcp(std::string_view host, uint16_t port, std::string_view export_name);
std::string nbd_url_over_unix(std::string_view socket, std::string_view export_name);

}  // namespace hull::config
