// The options of `hull nbd`: the words of qemu-nbd.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blockcore/engine/io_engine.h"
#include "blockcore/nbd/server.h"
#include "blockcore/open.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

struct NbdCommand {
  blockcore::OpenOptions image;
  blockcore::IoEngineKind engine = blockcore::IoEngineKind::kAutomatic;
  bool activated = false;  // the socket was handed over by whoever started us
  std::string socket;      // empty: TCP
  std::string bind;
  uint16_t port = 0;
  std::string export_name;
  std::string description;
  std::vector<std::string> bitmaps;
  bool allocation_depth = false;
  unsigned clients = 1;
  bool persistent = false;
  bool fork = false;
  bool verbose = false;
  std::string pid_file;
  bool help_shown = false;
};

Result<NbdCommand> parse_nbd_command(Arguments arguments);

}  // namespace hull::cli
