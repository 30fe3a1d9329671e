# make demo   a phantom cohort, ingested, served, asked, and one HTML page of the answers
# make test   lint and all tests
# Each sets up .venv by itself. PYTHON names another interpreter (>= 3.11).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
STUBS := server/pb
export LANCE_LOG ?= error

.PHONY: demo test lint bench stubs format clean

demo: $(STAMP)
	$(BIN)/tumorbase demo --out out/demo

test: lint
	$(BIN)/python -m pytest -q

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(addprefix typings/tumorbase/,store ingest models query server)
	$(BIN)/python -m pytest -q tests/test_layering.py tests/test_stubs.py

bench: $(STAMP)
	@for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=$(STUBS) --pyi_out=$(STUBS) \
	  --grpc_python_out=$(STUBS) proto/tumorbase/v1/*.proto

$(STAMP): pyproject.toml constraints.txt $(wildcard models/*.pyx)
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "tumorbase needs Python >= 3.11"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -U pip setuptools wheel cython
	$(BIN)/pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) out build *.egg-info models/*.so models/*.c
