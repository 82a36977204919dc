// The first record of each side: who speaks, in which versions, and why two cannot talk.
#include "channel/bodies.h"
#include "channel/little_endian.h"

namespace loader::channel {

namespace {

std::string abi_text(const Hello& hello) {
  return std::to_string(hello.abi_major) + "." + std::to_string(hello.abi_minor);
}

std::string introduce(const Hello& hello) {
  return (hello.runtime.empty() ? "a peer without a name" : hello.runtime) + " (engine-loader " +
         (hello.package_version.empty() ? "of unknown version" : hello.package_version) + ")";
}

// The cure names the side that has to change: the host, because the loader is what is being run.
std::string cure(const Hello& mine, const Hello& theirs) {
  const Hello& loader = mine.language == Language::kLoader ? mine : theirs;
  const Hello& host = mine.language == Language::kLoader ? theirs : mine;
  if (host.language == Language::kPython) {
    return "Install the same version in the engine's interpreter: pip install engine-loader==" +
           loader.package_version;
  }
  return "Reinstall engine-loader " + loader.package_version +
         " so that loader and loader-host come from one build.";
}

std::string refusal(const Hello& mine, const Hello& theirs, const std::string& what) {
  return what + " This side is " + introduce(mine) + ", the other is " + introduce(theirs) + ". " +
         cure(mine, theirs);
}

}  // namespace

std::optional<std::string> refuse_hello(const Hello& mine, const Hello& theirs) {
  if (theirs.magic != kHelloMagic) {
    return "The peer does not speak the loader's channel protocol: its hello begins with " +
           std::to_string(theirs.magic) + " instead of " + std::to_string(kHelloMagic) +
           ". Only loader-host and python -m loader.host may be started as an engine host.";
  }
  if (theirs.protocol != mine.protocol) {
    return refusal(mine, theirs,
                   "Channel protocol " + std::to_string(mine.protocol) +
                       " cannot talk to protocol " + std::to_string(theirs.protocol) + ".");
  }
  if (theirs.abi_major != mine.abi_major) {
    return refusal(
        mine, theirs,
        "Wrapper ABI " + abi_text(mine) + " cannot talk to ABI " + abi_text(theirs) + ".");
  }
  if (theirs.package_version != mine.package_version) {
    return refusal(mine, theirs,
                   "Loader and engine host are of different versions: " + mine.package_version +
                       " and " + theirs.package_version + ".");
  }
  if (theirs.shard != mine.shard || theirs.shard_count != mine.shard_count) {
    return "The channels are mixed up: this is channel " + std::to_string(mine.shard) + " of " +
           std::to_string(mine.shard_count) + ", the peer says " + std::to_string(theirs.shard) +
           " of " + std::to_string(theirs.shard_count) +
           ". This is a defect of whoever started the host: pass --channel in the given order.";
  }
  return std::nullopt;
}

size_t size_of(const Hello& body) {
  return 8 * sizeof(uint32_t) + text_size(body.package_version) + text_size(body.runtime);
}

uint8_t* write(const Hello& body, uint8_t* out) {
  for (const uint32_t number : {body.magic, body.protocol, body.abi_major, body.abi_minor,
                                body.shard, body.shard_count, body.pid}) {
    out = put(number, out);
  }
  out = put(body.language, out);
  return put_text(body.runtime, put_text(body.package_version, out));
}

// Magic, protocol and the versions come first for ever; a hello of another protocol may go on
// differently, and is still decoded as far as a refusal needs.
bool decode(Bytes bytes, Hello& out) {
  std::string_view package_version;
  std::string_view runtime;
  Reader reader(bytes);
  reader.get(out.magic).get(out.protocol).get(out.abi_major).get(out.abi_minor);
  if (!reader.ok()) return false;
  const bool is_other_protocol = out.magic != kHelloMagic || out.protocol != kProtocolVersion;
  reader.get(out.shard).get(out.shard_count).get(out.pid).get(out.language);
  reader.get_text(package_version).get_text(runtime);
  out.package_version = package_version;
  out.runtime = runtime;
  return is_other_protocol || (reader.ok_at_end() && out.language <= Language::kPython);
}

}  // namespace loader::channel
