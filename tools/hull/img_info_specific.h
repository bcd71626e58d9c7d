// What `hull img info` says of qcow2 images alone: QAPI ImageInfoSpecificQCow2.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "blockcore/image/info.h"

namespace hull::cli {

// The keys of the JSON form, in the order of the text form. `info` is a qcow2 image.
nlohmann::ordered_json specific_facts(const blockcore::ImageInfo& info);

}  // namespace hull::cli
