# How `make bench` and `make bench-smoke` build and run the benchmark. BIN, BUILD, JOBS come from the Makefile.
PROGRAMS := $(BUILD)/tools/bench
TRITON := $(BUILD)/triton

.PHONY: bench smoke programs
bench: programs $(TRITON)
	$(BIN)/python -m tools.bench.run --programs $(PROGRAMS) --triton $(TRITON)

smoke: programs
	$(BIN)/python -m tools.bench.run --smoke --programs $(PROGRAMS)

programs:
	cmake -S . -B $(BUILD) -DLOADER_BUILD_BENCH=ON > /dev/null
	cmake --build $(BUILD) --target bench-load bench-bare_echo -j $(JOBS)

# An environment of its own: Triton pins what the loader does not. Without it its rows say "not measured".
$(TRITON):
	$(BIN)/python -m venv $@
	$@/bin/pip install --quiet nvidia-pytriton || echo "nvidia-pytriton cannot be installed: not measured"
