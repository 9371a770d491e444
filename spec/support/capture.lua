return require "nfengine.testing.capture"
