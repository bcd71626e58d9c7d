// What programs learn about a run: the record of `hull run --result` and the lines of `--events`.
// The schema is version 1, described in hull-run(1), RECORD AND EVENTS; fields may be added to it.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/user_network.h"
#include "vmm/outcome.h"

namespace hull::cli {

struct RunRecord {
  std::string domain{};
  std::chrono::system_clock::time_point started{};
  std::chrono::system_clock::time_point ended{};
  unsigned resets = 0;  // after which the machine was started again
  int exit_code = 0;
  std::optional<unsigned> guest_status{};  // as --status-from found it
  std::string job_detail{};                // what was wrong with what came out of the guest
  Result<vmm::EndReason> end =
      vmm::EndReason{};  // an Error: nothing ran, or an image failed in the end
};

// How a guest's network is reached.
struct RunNetwork {
  std::string mac;
  std::string interface;                   // the host's; empty: there is none
  std::string address{};                   // the guest's, where hull gives it one
  std::vector<PublishedPort> published{};  // with the host's ports that were chosen
};

// One JSON object, without a newline.
std::string to_json(const RunRecord& record);

// Where the record goes, once. One thread.
class ResultPlace {
 public:
  // "FILE", which is made empty at once, or "fd:N". A FIFO that nobody reads yet is opened when
  // there is something to write. Waits for nobody. kUsage, kIo.
  static Result<ResultPlace> open(const std::string& where);

  // kIo: also a FIFO that nobody reads now either.
  Result<void> write(const RunRecord& record);
  // The same, but not into a pipe or a socket that has no room at once.
  void write_without_waiting(const RunRecord& record);

 private:
  explicit ResultPlace(std::string where) : where_(std::move(where)) {}
  Result<void> open_now();

  std::string where_;
  UniqueFd fd_;
};

// One line of JSON for each event. A reader that is slow loses events and is told how many: a run
// never waits for it. Any thread; set_domain() before there are several.
class EventStream {
 public:
  // "fd:N" or "unix:PATH", a stream socket that somebody listens at. kUsage, kIo.
  static Result<std::shared_ptr<EventStream>> open(const std::string& where);
  // Before the first event.
  void set_domain(std::string name) { domain_ = std::move(name); }

  void started(const std::string& console_path, const std::vector<RunNetwork>& networks);
  void event(const char* name);  // "ready", "power-button", "reset", "panic", "preserved"
  void io_error(const std::string& disk, const std::string& detail);
  void ended(const RunRecord& record);

 private:
  EventStream(UniqueFd fd, bool socket) : fd_(std::move(fd)), socket_(socket) {}
  nlohmann::ordered_json begin(const char* name) const;  // the fields of all events
  void send(std::string line);

  UniqueFd fd_;
  const bool socket_;
  std::string domain_;
  // Held while nobody can be waiting for long; still, who does not get it goes without its line.
  std::timed_mutex sending_;
  uint64_t lost_ = 0;  // whoever sends
};

}  // namespace hull::cli
