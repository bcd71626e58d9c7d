// The row of qcow2 in the table of formats.
#pragma once

#include "blockcore/format_driver.h"

namespace hull::blockcore::qcow2 {

extern const FormatDriver kDriver;

}  // namespace hull::blockcore::qcow2
