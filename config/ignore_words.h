// Which nodes a word of --ignore means. Internal to config/.
#pragma once

#include <string_view>

namespace hull::config {

struct XmlElement;

// `named` is the path of the node or of one of its ancestors ("/domain/devices/disk[2]"), or some
// steps of such a path ("tpm", "disk/@device"). A step without an index means all of its name.
// Words that would switch off everything at once ("devices") mean nothing.
bool names_node(std::string_view named, const XmlElement& element, std::string_view attribute);

}  // namespace hull::config
