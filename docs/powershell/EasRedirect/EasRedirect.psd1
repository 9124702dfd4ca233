@{
    RootModule        = 'EasRedirect.psm1'
    ModuleVersion     = '0.1.0'
    GUID              = '5f6f4f0e-2b0b-4f0c-9a36-6a7d8f1b5c21'
    Author            = 'The eas-redirect authors'
    Description       = 'What eas-redirect knows of a move, as objects that the cmdlets of Exchange take.'
    PowerShellVersion = '5.1'
    FunctionsToExport = @('Get-EasRedirectReport', 'Get-EasRedirectPlan', 'Test-EasRedirect')
    CmdletsToExport   = @()
    VariablesToExport = @()
    AliasesToExport   = @()
}
