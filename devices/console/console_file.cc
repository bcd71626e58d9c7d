// A file, FIFO or device that receives the output; there is no input.
#include "devices/console/console.h"
#include "devices/console/console_backend.h"
#include "devices/console/console_log.h"

namespace hull::devices {

namespace {

class FileBackend final : public ConsoleBackend {
 public:
  FileBackend(EventLoop& loop, ConsoleFrontend& frontend, UniqueFd fd)
      : ConsoleBackend(loop, frontend) {
    start_writer(NonBlockingFd(std::move(fd)));
  }
};

}  // namespace

Result<std::unique_ptr<ConsoleBackend>> open_file_backend(EventLoop& loop,
                                                          ConsoleFrontend& frontend,
                                                          const ConsoleOptions& options) {
  UniqueFd fd = TRY(open_output_file(options.path, options.append).with_context("console"));
  return std::make_unique<FileBackend>(loop, frontend, std::move(fd));
}

}  // namespace hull::devices
