#include "tools/hull/img_info_specific.h"

#include <cstring>
#include <nlohmann/json.hpp>

#include "blockcore/qcow2/format/encryption.h"

namespace hull::cli {
namespace {

using blockcore::ImageInfo;
using blockcore::crypto::CipherMode;
using blockcore::crypto::LuksHeader;
using blockcore::crypto::LuksSlot;
using blockcore::qcow2::Bitmap;
using blockcore::qcow2::Header;
using OrderedJson = nlohmann::ordered_json;

constexpr uint64_t kLuksSectorBytes = 512;

const char* compression_name(const Header& header) {
  return header.compression == blockcore::qcow2::CompressionType::kZlib ? "zlib" : "zstd";
}

OrderedJson bitmap_facts(const std::vector<Bitmap>& bitmaps) {
  OrderedJson list = OrderedJson::array();
  for (const Bitmap& bitmap : bitmaps) {
    OrderedJson flags = OrderedJson::array();
    if (bitmap.in_use) flags.push_back("in-use");
    if (bitmap.enabled) flags.push_back("auto");
    list.push_back({{"flags", std::move(flags)},
                    {"name", bitmap.name},
                    {"granularity", uint64_t{1} << bitmap.granularity_bits}});
  }
  return list;
}

OrderedJson slot_facts(const LuksSlot& slot) {
  OrderedJson facts = {{"active", slot.active}};
  if (slot.active) facts["iters"] = slot.iterations;
  facts["key-offset"] = slot.first_sector * kLuksSectorBytes;
  if (slot.active) facts["stripes"] = blockcore::crypto::kLuksStripes;
  return facts;
}

OrderedJson luks_facts(const LuksHeader& luks) {
  const bool essiv = luks.cipher.mode == CipherMode::kCbcEssivSha256;
  OrderedJson facts = {{"ivgen-alg", essiv ? "essiv" : "plain64"},
                       {"hash-alg", hash_name(luks.hash)},
                       {"cipher-alg", fmt::format("aes-{}", luks.cipher.aes_bits)},
                       {"uuid", std::string(luks.uuid.data(), ::strnlen(luks.uuid.data(), 40))}};
  if (essiv) facts["ivgen-hash-alg"] = "sha256";
  facts["format"] = "luks";
  facts["cipher-mode"] = luks.cipher.mode == CipherMode::kXtsPlain64 ? "xts" : "cbc";
  for (const LuksSlot& slot : luks.slots) facts["slots"].push_back(slot_facts(slot));
  facts["payload-offset"] = luks.payload_sector * kLuksSectorBytes;
  facts["master-key-iters"] = luks.digest_iterations;
  return facts;
}

OrderedJson encryption_facts(const ImageInfo& info) {
  if (info.luks) return luks_facts(*info.luks);
  const bool aes = info.header->encryption_method == blockcore::qcow2::kEncryptionAes;
  return {{"format", aes ? "aes" : "luks"}};
}

}  // namespace

OrderedJson specific_facts(const ImageInfo& info) {
  const Header& header = *info.header;
  OrderedJson facts = {{"compat", header.version == 2 ? "0.10" : "1.1"},
                       {"compression-type", compression_name(header)}};
  if (header.version >= 3) facts["lazy-refcounts"] = header.lazy_refcounts();
  if (!info.bitmaps.empty()) facts["bitmaps"] = bitmap_facts(info.bitmaps);
  facts["refcount-bits"] = header.geometry.refcount_bits();
  if (header.encryption_method != 0) facts["encrypt"] = encryption_facts(info);
  if (header.has_data_file()) {
    facts["data-file"] = header.data_file_name();
    facts["data-file-raw"] = header.data_file_is_raw();
  }
  if (header.version >= 3) {
    facts["corrupt"] = header.corrupt();
    facts["extended-l2"] = header.geometry.extended_l2;
  }
  return facts;
}

}  // namespace hull::cli
