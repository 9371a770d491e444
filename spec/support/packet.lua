return require "nfengine.testing.packet"
