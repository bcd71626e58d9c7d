// The files of a subject (qcow2_subject.h) as real files, each in use through an IoEngine: with
// O_DIRECT, with locks, under the host's limits.
#pragma once

#include <optional>

#include "blockcore/file/local_file.h"
#include "tests/support/qcow2_subject.h"
#include "tests/support/temporary_directory.h"

namespace hull::testing {

class FaultyEngine;

struct LocalHostOptions {
  blockcore::IoEngineKind engine = blockcore::IoEngineKind::kAutomatic;
  blockcore::CacheMode cache = blockcore::CacheMode::kWriteback;
  bool lock = false;
};

class LocalHost : public SubjectHost {
 public:
  // With kThreads its engine() is a FaultyEngine.
  LocalHost(const TemporaryDirectory& directory, const LocalHostOptions& options);

  Result<std::unique_ptr<blockcore::File>> open(unsigned index, const Bytes& contents) override;
  Bytes contents(unsigned index) const override;
  // Runs the engine until nothing is in flight.
  void run() override;

  // The file as it is there already, once it is free.
  Result<std::unique_ptr<blockcore::File>> open_existing(unsigned index, bool read_only = false);
  FaultyEngine* faulty_engine() const { return faulty_; }

 private:
  std::string path(unsigned index) const;

  const TemporaryDirectory& directory_;
  const LocalHostOptions options_;
  std::unique_ptr<blockcore::IoEngine> engine_;
  FaultyEngine* faulty_ = nullptr;
};

}  // namespace hull::testing
