// What an NBD server offers: a disk under a name, and the metadata contexts that describe it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/disk.h"
#include "blockcore/nbd/protocol.h"

namespace hull::blockcore::nbd {

// One metadata context: what each range of the disk is, as 32 bits of flags.
class MetaContext {
 public:
  MetaContext() = default;
  MetaContext(const MetaContext&) = delete;
  MetaContext& operator=(const MetaContext&) = delete;
  virtual ~MetaContext() = default;

  virtual std::string_view name() const = 0;
  // Describes the disk from `offset` on, which lies inside it: at least one and at most `most`
  // extents, together at most `length` bytes (> 0), neighbours with different flags.
  virtual Task<Result<std::vector<ExtentDescriptor>>> extents(uint64_t offset, uint32_t length,
                                                              size_t most) = 0;
};

// Whether a client gets to the export; who is refused is told so when it asks for it.
enum class Admission : uint8_t { kServed, kRefused };

struct Export {
  std::string name;  // what clients must ask for; empty: the default export
  std::string description;
  Disk* disk = nullptr;  // borrowed
  bool read_only = false;
  bool multi_conn = false;  // tell clients that several connections see each other's writes
  std::vector<std::unique_ptr<MetaContext>> contexts;

  bool writable() const { return !read_only && !disk->read_only(); }
};

}  // namespace hull::blockcore::nbd
