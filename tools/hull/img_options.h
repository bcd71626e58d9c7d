// Options that several image verbs have in common, with the names and meanings of qemu-img:
// --object,
// --image-opts, -f, -T/-t, -U, -q.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "blockcore/open.h"
#include "blockcore/secret.h"
#include "tools/hull/encrypt_words.h"

namespace hull::cli {

class CommandLine;

// The secrets of --object secret,id=NAME,file=PATH[,format=raw|base64], by name. A secret on the
// command line itself (data=) is refused: every user of the host could read it.
class ImgSecrets {
 public:
  Result<void> add(const std::string& object);
  // nullptr: there is none of this name.
  std::shared_ptr<const blockcore::Secret> find(const std::string& id) const;
  // What the words of --image-opts mean, level by level. kUsage if a secret is missing.
  Result<blockcore::ImageKeys> keys(const std::vector<EncryptWords>& levels) const;
  // kUsage if there is none.
  Result<std::shared_ptr<const blockcore::Secret>> need(const std::string& id) const;

 private:
  std::map<std::string, std::shared_ptr<const blockcore::Secret>> secrets_;
};

// What most verbs accept. Filled by the parser; finish() afterwards.
struct ImgCommon {
  std::vector<std::string> objects;
  bool image_opts = false;
  bool force_share = false;
  bool quiet = false;
  ImgSecrets secrets;

  void add_options(CommandLine& app);
  Result<void> finish();
};

// An image as a verb's user names it.
struct ImgName {
  std::string path;
  std::optional<blockcore::DiskFormat> format;  // absent: as it looks (only to read from)
  std::vector<EncryptWords> encryption;         // of the image and of those below, if one knows
  std::optional<bool> read_only;
  std::optional<blockcore::CacheMode> cache;
  bool force_share = false;  // the name itself says -U
  bool lock = true;
};

// A word that names a file or an export as one string: a path, an NBD URL, file:PATH,
// host_device:PATH, nbd:unix:PATH[:exportname=NAME], nbd:HOST:PORT[:exportname=NAME]. Returns a
// path or a URL; kUsage for another protocol, so that no file gets such a name by mistake ("./"
// makes it one).
Result<std::string> parse_img_path(const std::string& word);

// `word` is what parse_img_path() takes, json:{…} with the same options, or with image_opts
// "driver=qcow2,file.filename=PATH" as QEMU's -blockdev has it: drivers raw and qcow2 over file or
// host_device; cache.direct, cache.no-flush, read-only and the options of encrypt_words.h are
// understood. `format` is the value of -f, empty if there was none.
Result<ImgName> parse_img_name(const std::string& word, const std::string& format, bool image_opts);

// "snapshot.id=ID,snapshot.name=NAME", or an id or a name.
Result<blockcore::SnapshotChoice> parse_img_snapshot(const std::string& text);

// none, writeback, writethrough, directsync or unsafe.
Result<blockcore::CacheMode> parse_img_cache(const std::string& name);

// A number between the limits, as qemu-img's -c, -d and -m take it; `what` names it in the error.
Result<uint64_t> parse_img_number(const std::string& text, const std::string& what, uint64_t least,
                                  uint64_t most);

}  // namespace hull::cli
